"""A worker's loop: poll, prepare, commit, again."""

import logging
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tidemill.schemas.errors import CommitAborted
from tidemill.streams.hops.tasks import AnyTask
from tidemill.streams.in_flight import InFlight
from tidemill.streams.metrics import Metrics
from tidemill.streams.ports import Committer, Prepared, Records, Source

log = logging.getLogger(__name__)
_NONE: NDArray[np.int64] = np.empty(0, dtype=np.int64)


class Followed(Protocol):
    """Something that takes in changes between two transactions."""

    def start(self) -> None:
        """Take in all that there is."""
        ...

    def poll(self) -> None:
        """Take in what is new."""
        ...


@dataclass(frozen=True)
class LoopOptions:
    """How much a batch may hold, how long to wait for the first event, and how often a commit may fail in a row.

    With `pace_seconds`, a batch that is not full is followed by the next one no sooner than after so long: what is slow
    by nature is then done in few large batches. Such a loop never waits for its input.
    """

    max_records: int = 10_000
    poll_seconds: float = 0.1
    pace_seconds: float = 0.0
    max_aborts: int = 20
    lag_seconds: float = 1.0


class Loop:
    """Owns the order of things; everything that it touches is passed in.

    A batch is what has come in since the last commit began, up to `max_records`: small when traffic is low, so that
    an event does not wait for company, and large under load. With an executor, a batch is read and prepared while the
    one before it is committed; if that commit fails, what was prepared on top of it is dropped and read again.
    """

    def __init__(
        self,
        task: AnyTask,
        source: Source,
        committer: Committer,
        *,
        followed: Sequence[Followed] = (),
        metrics: Metrics,
        now: Callable[[], float],
        options: LoopOptions | None = None,
        in_flight: InFlight | None = None,
        shows_lag: bool = True,
    ) -> None:
        """`shows_lag`: whether the worker's lag is that of this source."""
        self._task, self._source, self._committer = task, source, committer
        self._followed, self._metrics, self._now = followed, metrics, now
        self._options = options or LoopOptions()
        self._in_flight = in_flight or InFlight(task)
        self._timestamps = np.empty(0, dtype=np.int64)
        self._shows_lag = shows_lag
        self._aborts = 0
        self._next_lag = 0.0
        self._next_batch = 0.0

    @property
    def paced(self) -> bool:
        """Whether it takes its time between batches."""
        return self._options.pace_seconds > 0

    def run(self, stop: Callable[[], bool]) -> None:
        """Until `stop` says so: what is prepared is committed, then the group is left."""
        run_in_turn([self], stop)

    @contextmanager
    def open(self) -> Iterator[None]:
        """Take in what is followed; at the end settle what is under way, and leave the group."""
        with closing(self._committer), closing(self._source), closing(self._in_flight):
            for followed in self._followed:
                followed.start()
            yield
            self._settle()

    def step(self, wait: float | None = None) -> int:
        """One round; returns how many records were processed. It waits `wait` seconds for the first, or as declared."""
        if self.paced and self._now() < self._next_batch:
            if self._in_flight.landed:
                self._settle()
            return 0
        records = self._source.poll(self._options.max_records, self._options.poll_seconds if wait is None else wait)
        for followed in self._followed:
            followed.poll()
        if len(records):
            self._process(records)
        else:
            self._settle()
        now = self._now()
        if 0 < len(records) < self._options.max_records:
            self._next_batch = now + self._options.pace_seconds
        self._write(self._task.idle(self._source.ended(), now))
        if self._shows_lag and now >= self._next_lag:
            self._metrics.lags(self._source.lag())
            self._next_lag = now + self._options.lag_seconds
        return len(records)

    def wake(self, partitions: Set[int]) -> None:
        """Say which partitions have something to read; see `Task.wake`."""
        self._write(self._task.wake(partitions))

    def settle(self) -> None:
        """Say that nothing more will come for now; see `Task.settle`."""
        while (prepared := self._task.settle()) is not None:
            self._write(prepared)

    def _process(self, records: Records) -> None:
        with self._metrics.prepare.time():
            prepared = self._task.prepare(records)
        self._write(prepared, records.timestamp)

    def _write(self, prepared: Prepared | None, timestamps: NDArray[np.int64] = _NONE) -> None:
        """Commit what was prepared, unless the commit before it fails: then it is of a state that is gone."""
        if prepared is None or not self._settle():
            return
        self._in_flight.start(prepared, lambda: self._commit(prepared))
        self._timestamps = timestamps if prepared.answered is None else prepared.answered
        if not self._in_flight.background:
            self._settle()

    def _commit(self, prepared: Prepared) -> float:
        with self._metrics.commit.time():
            self._committer.commit(prepared)
        return self._now()

    def _settle(self) -> bool:
        """Whether the state is that of the log: False if the commit under way failed, and all was rewound."""
        try:
            landed = self._in_flight.settle()
        except CommitAborted as error:
            self._metrics.aborted.inc()
            self._aborts += 1
            if self._aborts > self._options.max_aborts:
                raise
            log.warning("%s; restoring and trying again (%d in a row)", error, self._aborts)
            self._source.rewind()
            return False
        if landed is not None:
            self._aborts = 0
            latencies = np.maximum(landed.seconds - self._timestamps / 1000, 0.0)
            # What tells others of quiet partitions is no batch.
            if landed.prepared.counts:
                self._metrics.committed(landed.prepared, latencies)
            self._metrics.last_commit.set(landed.seconds)
        return True


BRIEF = 0.005
"""Seconds that each of several loops waits for its input: the others' may come first."""


def run_in_turn(loops: Sequence[Loop], stop: Callable[[], bool]) -> None:
    """Run the loops of one worker, round by round, until `stop` says so; none waits for long while another has work."""
    with ExitStack() as opened:
        for loop in loops:
            opened.enter_context(loop.open())
        busy = False
        waiting = [loop for loop in loops if not loop.paced] or loops
        while not stop():
            wait = None if len(waiting) == 1 else 0.0 if busy else BRIEF
            busy = sum([loop.step(wait if loop in waiting else 0.0) for loop in loops]) > 0
