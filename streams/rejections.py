"""Rejections on the wire: original bytes, and headers as on Kafka Streams' dead letter queues (KIP-1034)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tidemill.schemas.builtin import REJECTION
from tidemill.streams.plan import Plan
from tidemill.streams.ports import Headers, LogReader, Output, Records

HEADERS: dict[str, str] = {field["name"]: field["header"] for field in REJECTION.schema["fields"] if "header" in field}
"""Each field of the rejection contract that travels as a header, and the header's name."""


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
        )

    def headers(self) -> Headers:
        """The metadata as Kafka headers, all as UTF-8 text."""
        return [(header, str(getattr(self, name)).encode()) for name, header in HEADERS.items()]


def rejected_output(plan: Plan, rows: Sequence[RejectedRow], originals: LogReader | None) -> Output:
    """The messages for P.rejected, in log order; `originals` looks up bytes that a later stage does not have."""
    rows = sorted(rows, key=lambda row: (row.partition, row.offset))
    values = [row.value for row in rows]
    if originals is not None:
        events = plan.topic("events")
        for partition in {row.partition for row in rows}:
            wanted = [i for i, row in enumerate(rows) if row.partition == partition and row.topic == events]
            found = originals.fetch(events, partition, [rows[i].offset for i in wanted])
            for i in wanted:
                record = found.get(rows[i].offset)
                values[i] = None if record is None else record.value
    return Output(
        plan.topic("rejected"),
        np.array([row.partition for row in rows], dtype=np.int32),
        np.array([row.timestamp for row in rows], dtype=np.int64),
        [row.key for row in rows],
        values,
        [row.headers() for row in rows],
    )
