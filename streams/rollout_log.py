"""The rollout log, P.models: every step of every model, each record naming the hash of the one before.

What was written cannot be altered, left out or put in later without a broken link that `chain_fault` names. It is
written under a transactional id of its own: whoever takes the name fences the writer before, and reads the head of the
log only then, so that two writers never continue the same record.
"""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from typing import Any

import numpy as np

from tidemill.processors.rollout.moves import require_allowed
from tidemill.processors.rollout.state import Rollout
from tidemill.schemas.builtin import MODEL_EVENT, MODEL_EVENT_1
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import CommitAborted, Fenced, StreamError
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.kafka.transactions import KafkaTransactions
from tidemill.streams.memory import MemoryLog, MemoryReader, MemoryTransactions
from tidemill.streams.plan import Plan
from tidemill.streams.ports import LogReader, LogRecord, Output, Transactions

MODELS = "models"
"""The topic, by suffix."""
NO_RECORD = "0" * 64
"""What the first record names as the one before it."""
_ATTEMPTS = 20
log = logging.getLogger(__name__)
_codec = Codec(MODEL_EVENT, KnownSchemas([MODEL_EVENT, MODEL_EVENT_1]))


class LogMoved(StreamError):
    """Somebody else has written to the rollout log since it was read; nothing was appended."""


def transactional_id(name: str) -> str:
    """The name under which a pipeline's rollout log is written, by one at a time."""
    return f"{name}.rollout"


def model_events(records: Sequence[LogRecord]) -> list[dict[str, Any] | None]:
    """Each record's content; None, and an error in the log, for what is no model event."""
    decoded = _codec.decode([record.value for record in records])
    found: list[dict[str, Any] | None] = [None] * len(records)
    for bad in decoded.bad:
        record = records[bad.row]
        log.error("models[%d]@%d is not an announcement: %s", record.partition, record.offset, bad.message)
    for place, row in enumerate(decoded.rows.tolist()):
        try:
            (event,) = decoded.table.slice(place, 1).to_pylist()
        except (ValueError, OverflowError) as error:  # a time that no calendar holds
            record = records[row]
            log.error("models[%d]@%d cannot be read: %s", record.partition, record.offset, error)
        else:
            found[row] = {**event, "metrics": dict(event["metrics"])}
    return found


def hash_of(record: LogRecord | None) -> str:
    """What the next record names as the one before it."""
    return NO_RECORD if record is None else hashlib.sha256(record.value or b"").hexdigest()


def chain_fault(records: Sequence[LogRecord]) -> str | None:
    """The first broken link of the whole log, as a sentence; None if it holds.

    Records from before there was a chain may stand at its beginning: the first link covers the last of them.
    """
    before: LogRecord | None = None
    chained = False
    if records and records[0].offset > 0:
        return f"models@0: expected the log's first record, found that it begins at offset {records[0].offset}"
    for place, (record, event) in enumerate(zip(records, model_events(records), strict=True)):
        where = f"models@{record.offset}"
        if event is None:
            if chained:
                return f"{where}: expected a model event, found {len(record.value or b'')} bytes that are none"
        elif event["sequence"] < 0:
            if chained:
                return f"{where}: model {event['model_version']} as {event['status']} stands outside the chain"
        else:
            chained = True
            if event["previous"] != hash_of(before):
                said = f"the record before has the hash {hash_of(before)[:12]}…, it names {event['previous'][:12]}…"
                return (
                    f"{where}: model {event['model_version']} as {event['status']}: {said}: one of the two was altered"
                )
            if event["sequence"] != place:
                return (
                    f"{where}: expected the sequence {place}, found {event['sequence']}: records are missing or added"
                )
        before = record
    return None


class RolloutLog:
    """The rollout log of a pipeline on a cluster, or in memory.

    `plan` is the pipeline's, or its name. `now` says what time records that name none are given.
    """

    def __init__(
        self,
        plan: Plan | str,
        connection: Connection | MemoryLog,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = plan if isinstance(plan, str) else plan.name
        self._log, self._now = connection, now
        self.topic = f"{self.name}.{MODELS}"

    def records(self) -> list[LogRecord]:
        """The records as they stand, also those that are no model events."""
        with self._reader() as reader:
            return list(reader.read(self.topic, 0))

    def read(self) -> list[dict[str, Any]]:
        """All model events, in order.

        Raises:
            StreamError: the chain is broken; names the first broken link.

        """
        records = self.records()
        fault = chain_fault(records)
        if fault is not None:
            raise StreamError(f"the rollout log of {self.name} was altered: {fault}")
        return [event for event in model_events(records) if event is not None]

    def rollout(self) -> Rollout:
        """How the models stand now, whether or not the chain holds: `read` and `tidemill verify` say that."""
        return Rollout.of(event for event in model_events(self.records()) if event is not None)

    def append(self, events: Sequence[Mapping[str, Any]], expect: int | None = None) -> list[dict[str, Any]]:
        """Write these events, all or none; returns them with their place in the chain and their time.

        `expect` is how many model events the log must have, as `len(rollout.records)` says: a decision that was made on
        an older state is then not written.

        Raises:
            ModelError: an event may not follow on what the log says; nothing was written.
            LogMoved: the log has another length than was expected; nothing was written.
            StreamError: it could not be written.

        """
        written: list[bytes | None] | None = None
        for _ in range(_ATTEMPTS):
            with self._reader() as reader:
                transactions = self._transactions()
                records = list(reader.read(self.topic, 0))
            known = [event for event in model_events(records) if event is not None]
            if written is not None and [record.value for record in records[-len(written) :]] == written:
                return known[-len(written) :]
            if expect is not None and len(known) != expect:
                raise LogMoved(
                    f"the rollout log of {self.name} has {len(known)} records, expected {expect}: somebody else has"
                    " moved a model meanwhile; look again"
                )
            require_allowed(Rollout.of(known), [{"announced_at": self._now(), **event} for event in events])
            values = self._chained(records, known, events)
            keys = [event["model_version"].encode() for event in events]
            places = np.zeros(len(values), np.int64)
            try:
                transactions.commit(
                    [Output(self.topic, places.astype(np.int32), places + _ms(self._now()), keys, values)]
                )
            except (CommitAborted, Fenced) as error:
                log.warning("%s; reading the log again", error)
                written = values
                continue
            decoded = _codec.decode(values).table.to_pylist()
            return [{**event, "metrics": dict(event["metrics"])} for event in decoded]
        raise StreamError(f"the rollout log of {self.name} could not be written: others were always quicker; try again")

    def _chained(
        self, records: Sequence[LogRecord], known: Sequence[Mapping[str, Any]], events: Sequence[Mapping[str, Any]]
    ) -> list[bytes | None]:
        """The events' bytes, each with the hash of what stands before it."""
        values: list[bytes | None] = []
        previous = hash_of(records[-1] if records else None)
        least = max((event["announced_at"] for event in known), default=None)
        for place, event in enumerate(events, len(records)):
            at = event.get("announced_at") or self._now()
            # Clocks of machines differ; a log whose times never go back says at any time who served.
            at = at if least is None else max(at, least)
            row = {**event, "announced_at": at, "sequence": place, "previous": previous}
            (value,) = _codec.encode_rows([row])
            previous, least = hashlib.sha256(value).hexdigest(), at
            values.append(value)
        return values

    @contextmanager
    def _reader(self) -> Iterator[LogReader]:
        if isinstance(self._log, MemoryLog):
            yield MemoryReader(self._log)
            return
        with closing(KafkaReader(self._log)) as reader:
            yield reader

    def _transactions(self) -> Transactions:
        if isinstance(self._log, MemoryLog):
            return MemoryTransactions(self._log)
        return KafkaTransactions(self._log, transactional_id(self.name))


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
