"""How much state a worker holds: shown while it works, and refused before the machine runs out of memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidemill.schemas.errors import StateTooLarge
from tidemill.streams.ports import History, LogReader, LogRecord

SHARE = 0.6
"""How much of the memory state may take: arrays that grow need room for copies, and a worker needs some itself."""
_EVERY = 32


@dataclass(frozen=True)
class StateSize:
    """A partition's state: its keys, with each window counted by itself, and the bytes reserved for them."""

    keys: int
    nbytes: int


class Shown(Protocol):
    """Whoever shows the figures."""

    def state(self, sizes: Mapping[int, StateSize]) -> None:
        """The state of the partitions that the worker has."""
        ...

    def restored(self, partition: int, share: float) -> None:
        """How much of a partition's changelog has been read, from 0 to 1."""
        ...


class StateWatch:
    """Looks once a second, between two batches; a `Followed`."""

    def __init__(
        self,
        sizes: Callable[[], Mapping[int, StateSize]],
        limit: int,
        shown: Shown,
        now: Callable[[], float],
        seconds: float = 1.0,
    ) -> None:
        """`limit` is in bytes, for all partitions together."""
        self._sizes, self._limit, self.shown, self._now, self._seconds = sizes, limit, shown, now, seconds
        self._next = 0.0

    def start(self) -> None:
        """Nothing is there to begin with."""

    def poll(self) -> None:
        """Look, if it is time; raises as `check`."""
        if self._now() >= self._next:
            self._next = self._now() + self._seconds
            self.check()

    def check(self) -> None:
        """Show the sizes.

        Raises:
            StateTooLarge: they are beyond the limit.

        """
        sizes = self._sizes()
        self.shown.state(sizes)
        total, keys = sum(s.nbytes for s in sizes.values()), sum(s.keys for s in sizes.values())
        if total > self._limit:
            raise StateTooLarge(
                f"the state of {len(sizes)} partitions takes {total / 1e6:,.0f} MB for {keys:,} keys, and this worker"
                f" may hold {self._limit / 1e6:,.0f} MB (--max-state); what helps: workers on more machines, shorter"
                " windows, a shorter unique() or within of the labels, a coarser resolution, or a higher limit if there"
                " is memory"
            )


class WatchedReader:
    """A `LogReader` that has a restore watched as it goes on."""

    def __init__(self, reader: LogReader, history: History, changelog: str, watch: StateWatch) -> None:
        self._reader, self._history, self._changelog, self._watch = reader, history, changelog, watch
        self.committed, self.fetch = reader.committed, reader.fetch

    def read(self, topic: str, partition: int, start: int = 0) -> Iterator[LogRecord]:
        """The committed messages from offset `start` to the end that the log has now."""
        if topic != self._changelog:
            yield from self._reader.read(topic, partition, start)
            return
        begin, end = self._history.beginning(topic, partition), self._history.end(topic, partition)
        for number, record in enumerate(self._reader.read(topic, partition, start)):
            yield record
            if number % _EVERY == 0:
                self._watch.shown.restored(partition, min(1.0, (record.offset - begin) / max(1, end - begin)))
                self._watch.check()
        self._watch.shown.restored(partition, 1.0)


def memory_limit(root: Path = Path("/")) -> int:
    """The bytes of memory that this process and its like may take: the machine's, or its control group's if less."""
    text = (root / "proc/meminfo").read_text() if (root / "proc/meminfo").exists() else ""
    found = [int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith("MemTotal:")]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        path = root / "sys/fs/cgroup" / name
        limit = path.read_text().strip() if path.exists() else "max"
        found += [int(limit)] if limit.isdigit() else []
    # Where neither tells, such as on a Mac, four gigabytes are there.
    return min(found, default=4 * 2**30)
