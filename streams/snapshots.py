"""Local copies of a changelog, so that a restart reads no more of it than the tail.

A snapshot is what a compacted topic would hold up to an offset: the last record of each key. It is taken from the log,
not from memory, so it cannot hold what was not committed, needs nothing of the worker that it runs beside, and is read
back by the code that reads the log: whatever a changelog may hold, a snapshot may, records of other versions of the
pipeline included. A restore without it gives the same state, later.
"""

import logging
import struct
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import chain
from pathlib import Path
from typing import Protocol

from tidemill.streams import snapshot_file
from tidemill.streams.ports import History, LogRecord
from tidemill.streams.snapshot_file import Damaged, Snapshot

log = logging.getLogger(__name__)


class IdentifiedHistory(History, Protocol):
    """A log whose topics can be told from others that had their names before."""

    def identity(self, topic: str) -> str:
        """What no other topic has, not even one of the same name after this one was deleted."""
        ...


class Snapshots:
    """The snapshots in a folder, which several workers may share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, topic: str, partition: int) -> Path:
        """Where the partition's snapshot is, if there is one."""
        return self._folder / topic / f"{partition}.snapshot"

    def find(self, history: IdentifiedHistory, topic: str, partition: int) -> Snapshot | None:
        """The partition's snapshot if it is whole and of this very log; else a line in the worker's log says why."""
        path = self.path(topic, partition)
        try:
            found = snapshot_file.check(path)
        except FileNotFoundError:
            return None
        except (Damaged, OSError) as error:
            log.warning("%s is ignored, and the changelog is read from its beginning: %s", path, error)
            return None
        identity = history.identity(topic)
        if (found.topic, found.partition, found.identity) != (topic, partition, identity):
            log.warning(
                "%s is ignored: it is of %s[%d] with id %s, expected %s[%d] with id %s; was the topic deleted?",
                *(path, found.topic, found.partition, found.identity, topic, partition, identity),
            )
            return None
        first, end = history.beginning(topic, partition), history.end(topic, partition)
        if not first <= found.offset <= end:
            log.warning("%s is ignored: it ends at offset %d, but the log has %d to %d", path, found.offset, first, end)
            return None
        return found

    def read(self, snapshot: Snapshot) -> Iterator[LogRecord]:
        """The records of a snapshot that was found."""
        return snapshot_file.read(self.path(snapshot.topic, snapshot.partition), snapshot)

    def refresh(self, history: IdentifiedHistory, topic: str, partition: int, former: Snapshot | None) -> Snapshot:
        """Write the partition's snapshot anew: what the former one holds, then the log from there to its end.

        Raises:
            OSError: it could not be written; the former one is still there.

        """
        end = history.end(topic, partition)
        tail = history.read(topic, partition, former.offset if former else 0, end)
        records = tail if former is None else chain(self._current(former), tail)
        return snapshot_file.write(self.path(topic, partition), topic, history.identity(topic), partition, end, records)

    def _current(self, former: Snapshot) -> Iterator[LogRecord]:
        """The last record of each key; deletions have done their work."""
        last = {record.key: record.offset for record in self.read(former)}
        return (r for r in self.read(former) if last[r.key] == r.offset and r.value is not None)


class SnapshotReader:
    """A `LogReader` that takes the changelog from a snapshot as far as there is one, and the rest from the log."""

    def __init__(self, history: IdentifiedHistory, snapshots: Snapshots, changelog: str) -> None:
        self._history, self._snapshots, self._changelog = history, snapshots, changelog
        self.committed, self.fetch = history.committed, history.fetch

    def read(self, topic: str, partition: int, start: int = 0) -> Iterator[LogRecord]:
        """The committed messages from offset `start` to the end that the log has now."""
        whole = topic == self._changelog and start == 0
        found = self._snapshots.find(self._history, topic, partition) if whole else None
        if found is not None:
            log.info("%s[%d]: restoring from a snapshot up to offset %d", topic, partition, found.offset)
            yield from self._snapshots.read(found)
            start = found.offset
        yield from self._history.read(topic, partition, start)


class Snapshotter:
    """Keeps the snapshots of some partitions of a changelog up to date, beside the worker.

    A snapshot is written anew when the log has grown by half of what it holds, and by `least` offsets: so all writing
    together is a few times what the changelog is, and a restart reads at most half as much again from the log. What
    fails is tried again in the next round; it is never the worker's concern.
    """

    def __init__(
        self,
        snapshots: Snapshots,
        changelog: str,
        partitions: Callable[[], Collection[int]],
        connect: Callable[[], AbstractContextManager[IdentifiedHistory]],
        written: Callable[[bool], None],
        least: int = 200,
    ) -> None:
        """`partitions` says which ones; `connect` makes a reader for one round; `written` hears how each one went."""
        self._snapshots, self._changelog, self._partitions = snapshots, changelog, partitions
        self._connect, self._written, self._least = connect, written, least
        self._former: dict[int, Snapshot | None] = {}

    def run(self, stop: threading.Event, seconds: float = 10.0) -> None:
        """A round every so many seconds, until told to stop."""
        while not stop.wait(seconds):
            self.round()

    def round(self) -> None:
        """Write what is due."""
        wanted = sorted(self._partitions())
        self._former = {partition: former for partition, former in self._former.items() if partition in wanted}
        try:
            with self._connect() as history:
                for partition in wanted:
                    self._refresh(history, partition)
        except Exception as error:  # noqa: BLE001 - no snapshot is worth a worker, nor the next round
            log.warning("no snapshots are written for now: %s", error)

    def _refresh(self, history: IdentifiedHistory, partition: int) -> None:
        if partition not in self._former:
            self._former[partition] = self._snapshots.find(history, self._changelog, partition)
        former = self._former[partition]
        begin, held = (former.offset, former.records) if former else (history.beginning(self._changelog, partition), 0)
        if history.end(self._changelog, partition) - begin < max(self._least, held // 2):
            return
        try:
            self._former[partition] = self._snapshots.refresh(history, self._changelog, partition, former)
        except (OSError, struct.error, KeyError) as error:
            path = self._snapshots.path(self._changelog, partition)
            log.warning("%s was not written; a restart will read more of the changelog: %s", path, error)
            # It may be what was there before that cannot be read any more.
            del self._former[partition]
        self._written(partition in self._former)


@contextmanager
def running(snapshotter: Snapshotter) -> Iterator[None]:
    """Run it in a thread of its own until the end of the block; a long round that has begun is left alone."""
    stop = threading.Event()
    # A daemon: what it leaves half written has another name, and nobody needs it.
    thread = threading.Thread(target=snapshotter.run, args=(stop,), name="snapshots", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=2.0)
