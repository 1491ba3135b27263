"""The proof of conservation: every event is answered by exactly one prediction or exactly one rejection.

It is made from the topics alone, read_committed: each answer names the partition and offset of its event.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.derived import SOURCE_FIELDS
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.history import last_value
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.ports import LogRecord
from tidemill.streams.rejections import HEADERS, RETRY_EVENT

CHUNK = 32 * 1024 * 1024
"""Offsets that are looked at together: three bytes each bound the memory, whatever the topic's length."""
SHOWN = 5
Progress = Callable[[int], None]


@dataclass
class PartitionAudit:
    """What became of one partition's events.

    `retried` of the events are copies of rejected ones that were sent again, and `waiting` were not reached yet by the
    last stage; `unknown` answers name an event that the topic does not
    have (any more).
    """

    partition: int
    events: int = 0
    predictions: int = 0
    rejections: int = 0
    missing: int = 0
    doubled: int = 0
    waiting: int = 0
    retried: int = 0
    unknown: int = 0
    first_missing: list[int] = field(default_factory=list)
    first_doubled: list[int] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether conservation holds for what was processed."""
        return self.missing == 0 and self.doubled == 0


def audit(
    name: str,
    predictions: Contract,
    schemas: SchemaSource,
    reader: KafkaReader,
    progress: Progress = lambda n: None,  # noqa: ARG005
) -> list[PartitionAudit]:
    """Audit every partition of a pipeline; `progress` is told how many more messages were read."""
    sources = Contract.parse({**predictions.schema, "fields": list(SOURCE_FIELDS)})
    auditor = _Auditor(name, Codec(sources, schemas), reader, progress)
    return [auditor.partition(partition) for partition in reader.partitions(f"{name}.events")]


class _Auditor:
    def __init__(self, name: str, codec: Codec, reader: KafkaReader, progress: Progress) -> None:
        self._name, self._codec, self._reader, self._progress = name, codec, reader, progress
        self._events = f"{name}.events".encode()

    def partition(self, partition: int) -> PartitionAudit:
        result = PartitionAudit(partition)
        # First how far the last stage is, then the answers: those below that position were committed with it.
        reached = self._position(partition)
        events = f"{self._name}.events"
        first, end = self._reader.beginning(events, partition), self._reader.end(events, partition)
        for start in range(first, max(end, first + 1), CHUNK):
            self._chunk(result, start, min(start + CHUNK, end), reached, last=start + CHUNK >= end)
        return result

    def _position(self, partition: int) -> int:
        value = last_value(f"{self._name}.changelog", partition, b"position/online_inference", self._reader)
        return 0 if value is None else int(json.loads(value)["source_offset"])

    def _chunk(self, result: PartitionAudit, start: int, stop: int, reached: int, *, last: bool) -> None:
        predicted, unknown = self._count("predictions", result.partition, start, stop, self._predicted)
        rejected, more = self._count("rejected", result.partition, start, stop, self._rejected)
        if last:
            # Answers outside every chunk are counted once; answers inside are matched below.
            result.unknown += unknown + more
        is_event = np.zeros(stop - start, dtype=bool)
        for records in self._batches("events", result.partition, start, stop):
            is_event[[record.offset - start for record in records]] = True
            result.retried += sum(any(name == RETRY_EVENT for name, _ in r.headers) for r in records if r.headers)
        answers = np.add(predicted, rejected, dtype=np.int16)
        missing = np.flatnonzero(is_event & (answers == 0)) + start
        doubled = np.flatnonzero(is_event & (answers > 1)) + start
        result.events += int(is_event.sum())
        result.predictions += int(predicted[is_event].sum())
        result.rejections += int(rejected[is_event].sum())
        result.unknown += int((answers[~is_event] > 0).sum())
        result.waiting += int((missing >= reached).sum())
        result.missing += int((missing < reached).sum())
        result.doubled += len(doubled)
        result.first_missing = (result.first_missing + missing[missing < reached][:SHOWN].tolist())[:SHOWN]
        result.first_doubled = (result.first_doubled + doubled[:SHOWN].tolist())[:SHOWN]

    def _count(
        self,
        suffix: str,
        partition: int,
        start: int,
        stop: int,
        offsets_of: Callable[[list[LogRecord]], tuple[NDArray[np.int64], int]],
    ) -> tuple[NDArray[np.uint8], int]:
        """How often each offset in [start, stop) is answered, and how many answers name no offset of the partition."""
        first, end = (
            self._reader.beginning(f"{self._name}.events", partition),
            self._reader.end(f"{self._name}.events", partition),
        )
        counts = np.zeros(stop - start, dtype=np.uint8)
        outside = 0
        for records in self._batches(suffix, partition, 0, None):
            offsets, strays = offsets_of(records)
            outside += strays + int(((offsets < first) | (offsets >= end)).sum())
            inside = offsets[(offsets >= start) & (offsets < stop)] - start
            where, added = np.unique(inside, return_counts=True)
            counts[where] = np.minimum(counts[where] + added, 255)
        return counts, outside

    def _batches(self, suffix: str, partition: int, start: int, stop: int | None) -> Iterator[list[LogRecord]]:
        records = self._reader.read(f"{self._name}.{suffix}", partition, start, stop)
        while batch := list(islice(records, 20_000)):
            self._progress(len(batch))
            yield batch

    def _predicted(self, records: list[LogRecord]) -> tuple[NDArray[np.int64], int]:
        """The events that predictions answer, and how many name none of their partition or cannot be read."""
        table = self._codec.decode([r.value for r in records], [r.headers for r in records]).table
        own = table["source_partition"].to_numpy() == records[0].partition
        offsets: NDArray[np.int64] = table["source_offset"].to_numpy()[own]
        return offsets, len(records) - len(offsets)

    def _rejected(self, records: list[LogRecord]) -> tuple[NDArray[np.int64], int]:
        """As `_predicted`; what was rejected from another topic answers no event."""
        offsets, strays = [], 0
        for record in records:
            headers = dict(record.headers)
            topic, partition, offset = (headers.get(HEADERS[name], b"") for name in ("topic", "partition", "offset"))
            if partition == str(record.partition).encode() and offset.isdigit() and topic == self._events:
                offsets.append(int(offset))
            elif topic == self._events or not topic:
                strays += 1
        return np.array(offsets, dtype=np.int64), strays
