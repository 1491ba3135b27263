"""Rejections on the wire: original bytes, and headers as on Kafka Streams' dead letter queues (KIP-1034)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.schemas.builtin import REJECTION
from tidemill.schemas.framing import VALUE_SCHEMA_ID
from tidemill.streams.plan import Plan
from tidemill.streams.ports import Headers, LogReader, LogRecord, Output, Records

HEADERS: dict[str, str] = {field["name"]: field["header"] for field in REJECTION.schema["fields"] if "header" in field}
"""Each field of the rejection contract that travels as a header, and the header's name."""
_STAGE, _REASON, _MESSAGE, _TOPIC, _PARTITION, _OFFSET = HEADERS.values()
MESSAGE_CHARACTERS = 2_000
RETRY_EVENT = "tidemill.retry.event"
RETRY_REJECTION = "tidemill.retry.rejection"
RETRY_ATTEMPT = "tidemill.retry.attempt"
RETRY_STAGE = "tidemill.retry.stage"
KEPT = frozenset({VALUE_SCHEMA_ID, RETRY_EVENT, RETRY_REJECTION, RETRY_STAGE, RETRY_ATTEMPT})
"""Headers of the event that its rejection has too: without them it could not be read, or its history not be told."""
_KEPT_BYTES = 400


@dataclass(frozen=True)
class RejectedRow:
    """A rejected event; `value` None means that its bytes are still to be fetched from where it came from."""

    stage: str
    reason: str
    message: str
    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    kept: Headers | None = None
    """All headers of the event's record, of which those in `KEPT` go along."""

    @staticmethod
    def undecodable(stage: str, topic: str, records: Records, row: int, reason: str, message: str) -> "RejectedRow":
        """A record that could not even be read."""
        return RejectedRow(
            stage,
            reason,
            message,
            topic,
            int(records.partition[row]),
            int(records.offset[row]),
            int(records.timestamp[row]),
            records.keys[row],
            records.values[row],
            records.headers[row],
        )

    def headers(self) -> Headers:
        """The metadata as Kafka headers, all as UTF-8 text, then what is kept of the event's own."""
        made: Headers = [
            (_STAGE, self.stage.encode()),
            (_REASON, self.reason.encode()),
            (_MESSAGE, _sentence(self.message)),
            (_TOPIC, self.topic.encode()),
            (_PARTITION, b"%d" % self.partition),
            (_OFFSET, b"%d" % self.offset),
        ]
        return made + _kept(self.kept) if self.kept else made


@dataclass(frozen=True)
class StoredRejection:
    """A message of P.rejected; `record` is itself, with the event's key, value and timestamp, and the rest says why.

    `topic`, `partition` and `offset` are the event's. What a header does not tell is empty, or -1.
    """

    record: LogRecord
    stage: str
    reason: str
    message: str
    topic: str
    partition: int
    offset: int

    @staticmethod
    def of(record: LogRecord) -> "StoredRejection":
        """Read the headers; nobody can make it raise."""
        found = {name: value.decode(errors="replace") for name, value in record.headers if isinstance(value, bytes)}
        texts = {field: found.get(HEADERS[field], "") for field in ("stage", "reason", "message", "topic")}
        return StoredRejection(
            record, **texts, partition=_number(found, HEADERS["partition"]), offset=_number(found, HEADERS["offset"])
        )

    @property
    def attempt(self) -> int:
        """How often the event had been sent again when it was rejected."""
        found = {name: value.decode(errors="replace") for name, value in self.record.headers if value is not None}
        return max(_number(found, RETRY_ATTEMPT), 0)


def rejected_output(plan: Plan, rows: Sequence[RejectedRow], originals: LogReader | None) -> Output:
    """The messages for P.rejected, in log order; `originals` looks up bytes that a later stage does not have."""
    rows = sorted(rows, key=lambda row: (row.partition, row.offset))
    keys, values = [row.key for row in rows], [row.value for row in rows]
    headers = [row.headers() for row in rows]
    if originals is not None:
        sources = {plan.topic("events"), plan.topic("labels")}
        for topic, partition in sorted({(row.topic, row.partition) for row in rows if row.topic in sources}):
            wanted = [i for i, row in enumerate(rows) if (row.topic, row.partition) == (topic, partition)]
            found = originals.fetch(topic, partition, [rows[i].offset for i in wanted])
            for i in wanted:
                record = found.get(rows[i].offset)
                if record is not None:
                    keys[i] = record.key if keys[i] is None else keys[i]
                    values[i] = record.value
                    headers[i] += _kept(record.headers)
    return Output(
        plan.topic("rejected"),
        np.array([row.partition for row in rows], dtype=np.int32),
        np.array([row.timestamp for row in rows], dtype=np.int64),
        keys,
        values,
        headers,
    )


def _sentence(message: str) -> bytes:
    """What a model or an expression raises may be of any length, and hold what is no text."""
    cut = message if len(message) <= MESSAGE_CHARACTERS else f"{message[: MESSAGE_CHARACTERS - 1]}…"
    return cut.encode(errors="backslashreplace")


def refused_later(records: Records, first: str) -> NDArray[np.bool_] | None:
    """Which records are copies of events that another stage than the `first` refused; None if no record is."""
    if not any(records.headers):
        return None
    name, own = RETRY_STAGE, first.encode()
    return np.array([any(n == name and v != own for n, v in headers or ()) for headers in records.headers], dtype=bool)


def _kept(headers: Headers) -> Headers:
    # The first of a name counts. None is as long when it is sound, and one that is not stays so when it is cut.
    first = {name: value for name, value in reversed(headers) if name in KEPT}
    return [(name, value and value[:_KEPT_BYTES]) for name, value in first.items()]


def _number(headers: dict[str, str], name: str) -> int:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1
