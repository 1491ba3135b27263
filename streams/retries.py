"""Sending rejected events and labels through the pipeline again, each exactly once.

The copies on P.events or P.labels and the notes on P.retries that they were made are one transaction. One holder of the
tool's transactional id at a time reads the notes and writes: whoever takes it has fenced the one before and then reads
all that it will ever have noted. So a kill between any two steps, and two operators at once, send nothing twice.

A copy is an event of its own, with the key, value, partition, framing header and record timestamp of the first, and
headers that name it. The record timestamp is kept because it is "now" for every check and window.
"""

import json
from dataclasses import dataclass, field

import numpy as np

from tidemill.processors.feature_enrichment.hops import ASSEMBLY
from tidemill.schemas.framing import VALUE_SCHEMA_ID
from tidemill.streams.plan import STAGES
from tidemill.streams.ports import Headers, History, Output, Transactions
from tidemill.streams.rejected_log import Progress, Selection, event_of, partitions_of, place_of, read_rejections
from tidemill.streams.rejections import RETRY_ATTEMPT, RETRY_EVENT, RETRY_REJECTION, RETRY_STAGE, StoredRejection

BATCH_ROWS = 5_000
BATCH_BYTES = 8 * 1024 * 1024
SOURCES = ("events", "labels")
"""The topics, by suffix, that rejected records are sent back to."""
_ORDER = (*STAGES[:2], ASSEMBLY, STAGES[2])
"""Every stage that refuses events, with hops or without."""


@dataclass
class Retried:
    """What became of the rejections that were selected.

    `sent` went through again, by reason, or would go in a dry run. `already` were sent by an earlier retry. Of
    `without_bytes` the bytes are not kept (too large, empty, or deleted by retention); `not_events` were rejected from
    a topic between two stages, where only the pipeline itself should write.
    """

    sent: int = 0
    already: int = 0
    without_bytes: int = 0
    not_events: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def transactional_id(name: str) -> str:
    """The name under which a pipeline's rejections are sent again, by one at a time."""
    return f"{name}.rejected-retry"


def retried_offsets(reader: History, name: str, partition: int, suffix: str = SOURCES[0]) -> frozenset[int]:
    """The offsets on a partition of P.events whose events were sent again, or of P.labels by its suffix.

    Under the tool's transactional id this is the truth; without it, what was true a moment ago.
    """
    notes = reader.read(f"{name}.retries", partition)
    keys = [note.key for note in notes if note.key is not None]
    return frozenset(
        int(key.rpartition(b"/")[2]) for key in keys if key.startswith(_key(suffix, partition, "").encode())
    )


def retry(
    reader: History,
    name: str,
    selection: Selection,
    transactions: Transactions | None,
    progress: Progress = lambda n: None,  # noqa: ARG005
) -> Retried:
    """Send the selected rejections' events again, in log order, unless that was done before.

    `transactions` must have been opened under `transactional_id(name)` before this is called; None is a dry run.

    Raises:
        CommitAborted: a transaction was rolled back; what was committed before it stays, and calling again goes on.
        Fenced: somebody else began to retry.

    """
    result = Retried()
    for partition in partitions_of(reader, name, selection):
        done = {f"{name}.{suffix}": set(retried_offsets(reader, name, partition, suffix)) for suffix in SOURCES}
        batch: list[StoredRejection] = []
        size = 0
        for rejection in read_rejections(reader, name, partition, selection, progress):
            record = rejection.record
            if rejection.topic not in done or rejection.partition != partition or rejection.offset < 0:
                result.not_events += 1
            elif record.value is None:
                result.without_bytes += 1
            elif rejection.offset in done[rejection.topic]:
                result.already += 1
            else:
                done[rejection.topic].add(rejection.offset)
                batch.append(rejection)
                size += len(record.value) + len(record.key or b"")
                if len(batch) >= BATCH_ROWS or size >= BATCH_BYTES:
                    _send(name, partition, batch, transactions, result)
                    batch, size = [], 0
        _send(name, partition, batch, transactions, result)
    return result


def _send(
    name: str, partition: int, batch: list[StoredRejection], transactions: Transactions | None, result: Retried
) -> None:
    if batch and transactions is not None:
        by_topic = {topic: [r for r in batch if r.topic == topic] for topic in {r.topic for r in batch}}
        copies = [_copies(name, topic, partition, chosen) for topic, chosen in sorted(by_topic.items())]
        transactions.commit([*copies, _notes(name, partition, batch)])
    for rejection in batch:
        result.sent += 1
        result.reasons[rejection.reason] = result.reasons.get(rejection.reason, 0) + 1


def _copies(name: str, topic: str, partition: int, batch: list[StoredRejection]) -> Output:
    return Output(
        topic,
        np.full(len(batch), partition, dtype=np.int32),
        np.array([rejection.record.timestamp for rejection in batch], dtype=np.int64),
        [rejection.record.key for rejection in batch],
        [rejection.record.value for rejection in batch],
        [_headers(name, rejection) for rejection in batch],
    )


def _headers(name: str, rejection: StoredRejection) -> Headers:
    framing = [header for header in rejection.record.headers if header[0] == VALUE_SCHEMA_ID]
    own = {
        RETRY_EVENT: event_of(rejection),
        RETRY_REJECTION: place_of(rejection, f"{name}.rejected"),
        RETRY_STAGE: _furthest(rejection),
        RETRY_ATTEMPT: rejection.attempt + 1,
    }
    return [*framing, *((header, str(value).encode()) for header, value in own.items())]


def _furthest(rejection: StoredRejection) -> str:
    """The last stage that refused the event in any attempt: what it passed once, it need not pass again."""
    before = [value.decode(errors="replace") for n, value in rejection.record.headers if n == RETRY_STAGE and value]
    known = [stage for stage in [rejection.stage, *before] if stage in _ORDER]
    return max(known, key=_ORDER.index, default=rejection.stage)


def _key(suffix: str, partition: int, offset: str) -> str:
    return f"{partition}/{offset}" if suffix == SOURCES[0] else f"{suffix}/{partition}/{offset}"


def _notes(name: str, partition: int, batch: list[StoredRejection]) -> Output:
    """One for each event, under its place: at least once, an event may have been rejected twice."""
    texts = [
        {
            "rejection": str(place_of(rejection, f"{name}.rejected")),
            "stage": rejection.stage,
            "reason": rejection.reason,
            "attempt": rejection.attempt + 1,
        }
        for rejection in batch
    ]
    return Output(
        f"{name}.retries",
        np.full(len(batch), partition, dtype=np.int32),
        np.zeros(len(batch), dtype=np.int64),
        [_key(r.topic.removeprefix(f"{name}."), partition, str(r.offset)).encode() for r in batch],
        [json.dumps(text).encode() for text in texts],
    )
