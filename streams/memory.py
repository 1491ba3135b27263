"""A log in memory behind the same ports as Kafka: for tests and replays without a broker."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from tidemill.schemas.errors import StreamError, nearest
from tidemill.streams.murmur2 import partition_of
from tidemill.streams.ports import Headers, LogRecord, Output, Records

_NAMES = count(1)


@dataclass
class _Partition:
    """Records by offset; `beginning` and `end` are as a broker tells them."""

    records: list[LogRecord] = field(default_factory=list)
    beginning: int = 0
    end: int = 0

    def between(self, start: int, end: int) -> Iterator[LogRecord]:
        records = self.records
        first, stop = (bisect_left(records, offset, key=lambda record: record.offset) for offset in (start, end))
        return (records[place] for place in range(first, stop))


class MemoryLog:
    """Topics with partitions and offsets, and the groups' committed offsets, for one thread.

    It decides nothing by chance: a message with a key goes to the partition that Java's and our own producers choose,
    and messages without a key go to the topic's partitions in turn. Offsets are without gaps, for there are no
    transaction markers, until `compact` leaves some.

    Raises StreamError for a topic that it does not have.
    """

    def __init__(self, topics: Mapping[str, int], now: Callable[[], int] = lambda: 0) -> None:
        """`topics` gives each topic's number of partitions; `now`, in epoch milliseconds, stamps what names no time."""
        self._topics = {name: [_Partition() for _ in range(number)] for name, number in topics.items()}
        self._turns = dict.fromkeys(topics, 0)
        self._now = now
        self._name = str(next(_NAMES))
        self.committed: dict[tuple[str, str, int], int] = {}
        """By group, topic and partition: the next offset to read."""

    def append(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> LogRecord:
        """Put a message at the end of its partition; returns it as it will be read."""
        parts = self._parts(topic)
        if partition is None:
            partition = self._in_turn(topic, len(parts)) if key is None else partition_of(key, len(parts))
        part = parts[partition]
        # A broker takes no time before 1970.
        at = self._now() if timestamp is None else max(timestamp, 0)
        record = LogRecord(partition, part.end, at, key, value, list(headers or []))
        part.records.append(record)
        part.end += 1
        return record

    def _in_turn(self, topic: str, count: int) -> int:
        self._turns[topic] += 1
        return (self._turns[topic] - 1) % count

    def read(self, topic: str, partition: int, start: int = 0, end: int | None = None) -> Iterator[LogRecord]:
        """The messages from offset `start` to `end`, by default to the end that the partition has now."""
        part = self._parts(topic)[partition]
        return part.between(start, part.end if end is None else end)

    def beginning(self, topic: str, partition: int) -> int:
        """The first offset that the partition still has."""
        return self._parts(topic)[partition].beginning

    def end(self, topic: str, partition: int) -> int:
        """The offset of the next message."""
        return self._parts(topic)[partition].end

    def partitions(self, topic: str) -> list[int]:
        """The topic's partitions."""
        return list(range(len(self._parts(topic))))

    def identity(self, topic: str) -> str:
        """What this log's topic is called, and no topic of another log."""
        self._parts(topic)
        return f"{self._name}.{topic}"

    def compact(self, topic: str) -> None:
        """Keep of every key the last message, as a broker does in time with a compacted topic; tombstones go too."""
        for part in self._parts(topic):
            last = {record.key: record.offset for record in part.records}
            part.records = [r for r in part.records if last[r.key] == r.offset and r.value is not None]

    def delete_before(self, topic: str, partition: int, offset: int) -> None:
        """Forget the messages before `offset`, as retention does."""
        part = self._parts(topic)[partition]
        part.beginning = max(part.beginning, min(offset, part.end))
        part.records = list(part.between(part.beginning, part.end))

    def _parts(self, topic: str) -> list[_Partition]:
        if topic not in self._topics:
            raise StreamError(f"there is no topic {topic!r}{nearest(topic, self._topics)}")
        return self._topics[topic]


class MemoryReader:
    """A `History` over a `MemoryLog`, for one group."""

    def __init__(self, log: MemoryLog, group: str = "") -> None:
        self._log, self._group = log, group
        self.read, self.beginning, self.end, self.partitions = log.read, log.beginning, log.end, log.partitions
        self.identity = log.identity

    def committed(self, topic: str, partition: int) -> int | None:
        """The group's committed offset."""
        return self._log.committed.get((self._group, topic, partition))

    def fetch(self, topic: str, partition: int, offsets: Sequence[int]) -> dict[int, LogRecord]:
        """The messages at these offsets, as far as the log still has them."""
        return {r.offset: r for offset in offsets for r in self._log.read(topic, partition, offset, offset + 1)}


class MemoryStream:
    """A `RecordStream` over a topic of a `MemoryLog`; never waits, because nothing is ever under way."""

    def __init__(self, log: MemoryLog, topic: str) -> None:
        self._log, self._topic, self._next = log, topic, 0

    def poll(self) -> list[LogRecord]:
        """What has come since."""
        records = list(self._log.read(self._topic, 0, self._next))
        self._next = self._log.end(self._topic, 0)
        return records

    def catch_up(self) -> list[LogRecord]:
        """As `poll`."""
        return self.poll()


class MemorySender:
    """A `Sender` into a `MemoryLog`; delivered at once."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log
        self._first: dict[str, int] = {}

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> None:
        """Append a message."""
        record = self._log.append(topic, key, value, headers=headers, partition=partition)
        self._first.setdefault(topic, record.offset)

    def flush(self) -> None:
        """Nothing is queued."""

    def first_offset(self, topic: str) -> int:
        """The offset of the first message that this sender appended to the topic."""
        return self._first[topic]


class MemoryTransactions:
    """`Transactions` into a `MemoryLog`; never in vain."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def commit(self, outputs: Sequence[Output]) -> None:
        """Append all of it."""
        append_outputs(self._log, outputs)


def append_outputs(log: MemoryLog, outputs: Sequence[Output]) -> None:
    """Append every message of the outputs to its partition."""
    for output in outputs:
        headers = output.headers or [None] * len(output)
        places = zip(output.partition.tolist(), output.timestamp.tolist(), strict=True)
        for (partition, at), key, value, header in zip(places, output.keys, output.values, headers, strict=True):
            log.append(output.topic, key, value, headers=header, partition=partition, timestamp=at)


def columns(records: Sequence[LogRecord]) -> Records:
    """Messages that were read one by one, by partition and offset, as the engine takes them."""
    return Records(
        np.array([record.partition for record in records], dtype=np.int32),
        np.array([record.offset for record in records], dtype=np.int64),
        np.array([record.timestamp for record in records], dtype=np.int64),
        [record.key for record in records],
        [record.value for record in records],
        [record.headers or None for record in records],
    )
