"""What the engine needs from a log. Kafka is one implementation; a test or a dry run brings another."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Headers = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Records:
    """Consumed messages of one topic in columns, by partition and then offset; timestamps are epoch milliseconds."""

    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None]

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class LogRecord:
    """One message that was read outside a consumer group."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True)
class Output:
    """Messages for one topic, in columns; each goes to the partition given, on public topics that of its event."""

    topic: str
    partition: NDArray[np.int32]
    timestamp: NDArray[np.int64]
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    headers: Sequence[Headers | None] | None = None

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class ChangelogEntry:
    """One message for the changelog topic: a piece of state, or None to delete it."""

    partition: int
    key: bytes
    value: bytes | None


@dataclass(frozen=True)
class Prepared:
    """All that one batch leads to; made in memory, so that the commit is the only step that talks to the broker."""

    outputs: Sequence[Output]
    changelog: Sequence[ChangelogEntry]
    offsets: Mapping[int, int]
    """For each partition of the input topic, the next offset to read."""
    counts: Mapping[str, "StageCounts"] = field(default_factory=dict)
    answered: NDArray[np.int64] | None = None
    """Record timestamps of the events that this batch answers; None means those of the records that it was made of."""


@dataclass
class StageCounts:
    """What a stage did with a batch."""

    accepted: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    warned: dict[str, int] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    """Of the outcomes stage: labels by what became of them."""


class Assignments(Protocol):
    """Told by a source, inside `poll`, which partitions come and go."""

    def assigned(self, partition: int) -> int | None:
        """Make the partition's state ready; returns the input offset to start at, None for the committed one."""
        ...

    def revoked(self, partition: int) -> None:
        """The partition's state is no longer this worker's."""
        ...


class Source(Protocol):
    """The input topic, shared with the other workers of a consumer group."""

    def poll(self, max_records: int, timeout: float) -> Records:
        """Up to `max_records` committed messages, waiting at most `timeout` seconds for the first one.

        Rebalances happen inside; messages of a partition that was revoked meanwhile are never returned.
        """
        ...

    def rewind(self) -> None:
        """After an aborted commit: restore each partition's state and read again from where that state stands."""
        ...

    def ended(self) -> set[int]:
        """The assigned partitions of which nothing is left to read, as far as was heard by the last `poll`."""
        ...

    def lag(self) -> dict[int, int]:
        """For each assigned partition, how many offsets lie between what was read and the end, as last heard."""
        ...

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        ...


class Committer(Protocol):
    """Makes a prepared batch visible, with the input's offsets."""

    def commit(self, prepared: Prepared) -> None:
        """All of it or nothing (exactly once), or all of it at least once.

        Raises:
            CommitAborted: nothing became visible; restore the state, rewind and go on.
            Fenced: another worker holds this one's place; stop.

        """
        ...

    def close(self) -> None:
        """Abort what is open and release the connection."""
        ...


class Transactions(Protocol):
    """Writes messages that become visible together, under a name that one holder has at a time.

    Whoever takes the name decides what its former holder left open, and fences it: what is read after that is all that
    the former holder will ever have written.
    """

    def commit(self, outputs: Sequence[Output]) -> None:
        """All of it or nothing.

        Raises:
            CommitAborted: nothing became visible.
            Fenced: somebody else has taken the name; nothing became visible.

        """
        ...


class LogReader(Protocol):
    """Reads a partition from a place to its present end, outside any group."""

    def read(self, topic: str, partition: int, start: int = 0) -> Iterator[LogRecord]:
        """The committed messages from offset `start` to the end that the log has now."""
        ...

    def committed(self, topic: str, partition: int) -> int | None:
        """The group's committed offset, after every open transaction on it is decided."""
        ...

    def fetch(self, topic: str, partition: int, offsets: Sequence[int]) -> dict[int, LogRecord]:
        """The messages at these offsets, as far as the log still has them."""
        ...


class History(LogReader, Protocol):
    """A log reader that knows where partitions begin and end."""

    def read(self, topic: str, partition: int, start: int = 0, end: int | None = None) -> Iterator[LogRecord]:
        """The committed messages from offset `start` to `end`, by default to the end that the log has now."""
        ...

    def beginning(self, topic: str, partition: int) -> int:
        """The first offset that the partition still has."""
        ...

    def end(self, topic: str, partition: int) -> int:
        """The offset after the last message."""
        ...

    def partitions(self, topic: str) -> list[int]:
        """The topic's partitions."""
        ...


Place = tuple[int, int]
"""A stage, as its record's place in the rollout log, and an offset before which nothing is about it or later ones."""


class Places(Protocol):
    """Keeps from where on partitions are to be read, by topic and partition."""

    def load(self, partitions: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], Place]:
        """What was kept of these."""
        ...

    def save(self, places: Mapping[tuple[str, int], Place]) -> None:
        """Keep these."""
        ...


class RecordStream(Protocol):
    """A topic of one partition that is followed from its beginning; each record is handed out once."""

    def catch_up(self) -> list[LogRecord]:
        """Everything up to the end that the topic has now, waiting for it."""
        ...

    def poll(self) -> list[LogRecord]:
        """What has come since, without waiting."""
        ...


class Sender(Protocol):
    """Publishes single messages; delivery errors are raised."""

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> None:
        """Queue a message."""
        ...

    def flush(self) -> None:
        """Wait until everything queued is delivered."""
        ...

    def first_offset(self, topic: str) -> int:
        """The offset of the first message that this sender had delivered to the topic."""
        ...
