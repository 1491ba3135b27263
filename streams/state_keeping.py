"""What goes on around a worker's state while its tasks run: it is watched, and copied for a quicker restart."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from tidemill.streams.metrics import Metrics
from tidemill.streams.ports import LogReader
from tidemill.streams.snapshots import IdentifiedHistory, SnapshotReader, Snapshots, Snapshotter, running
from tidemill.streams.state_watch import SHARE, StateSize, StateWatch, WatchedReader, memory_limit


class Holder(Protocol):
    """A task, as far as its state concerns others."""

    def sizes(self) -> dict[int, StateSize]:
        """How much state each partition has; may be asked for by any thread."""
        ...


class StateKeeping:
    """One for a worker, whose tasks share its memory and its changelog."""

    def __init__(
        self, changelog: str, folder: Path | None, limit: int | None, metrics: Metrics, now: Callable[[], float]
    ) -> None:
        """`folder` is that of snapshots, None keeps none; `limit` is in bytes, by default a share of all memory."""
        self._changelog, self._metrics = changelog, metrics
        self._snapshots = None if folder is None else Snapshots(folder)
        limit = int(memory_limit() * SHARE) if limit is None else limit
        self.watch = StateWatch(self._sizes, limit, metrics, now)
        self.tasks: list[Holder] = []
        """To be filled by the worker."""

    def reader(self, history: IdentifiedHistory) -> LogReader:
        """One to restore by: from a snapshot where there is one, and watched."""
        inner = history if self._snapshots is None else SnapshotReader(history, self._snapshots, self._changelog)
        return WatchedReader(inner, history, self._changelog, self.watch)

    def snapshots_beside(
        self, connect: Callable[[], AbstractContextManager[IdentifiedHistory]]
    ) -> AbstractContextManager[None]:
        """Write snapshots, if there are to be any, until the end of the block."""
        if self._snapshots is None:
            return nullcontext()
        return running(Snapshotter(self._snapshots, self._changelog, self._sizes, connect, self._metrics.snapshot))

    def _sizes(self) -> dict[int, StateSize]:
        found: dict[int, StateSize] = {}
        for task in self.tasks:
            for partition, size in task.sizes().items():
                other = found.get(partition, StateSize(0, 0))
                found[partition] = StateSize(other.keys + size.keys, other.nbytes + size.nbytes)
        return found
