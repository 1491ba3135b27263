"""A worker's loop: poll, prepare, commit, again."""

import logging
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from tidemill.schemas.errors import CommitAborted
from tidemill.streams.in_flight import InFlight
from tidemill.streams.metrics import Metrics
from tidemill.streams.ports import Committer, Prepared, Records, Source
from tidemill.streams.task import Task

log = logging.getLogger(__name__)


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
    """How much a batch may hold, how long to wait for the first event, and how often a commit may fail in a row."""

    max_records: int = 10_000
    poll_seconds: float = 0.1
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
        task: Task,
        source: Source,
        committer: Committer,
        *,
        followed: Sequence[Followed] = (),
        metrics: Metrics,
        now: Callable[[], float],
        options: LoopOptions | None = None,
        in_flight: InFlight | None = None,
    ) -> None:
        self._task, self._source, self._committer = task, source, committer
        self._followed, self._metrics, self._now = followed, metrics, now
        self._options = options or LoopOptions()
        self._in_flight = in_flight or InFlight(task)
        self._timestamps = np.empty(0, dtype=np.int64)
        self._aborts = 0
        self._next_lag = 0.0

    def run(self, stop: Callable[[], bool]) -> None:
        """Until `stop` says so: what is prepared is committed, then the group is left."""
        with closing(self._committer), closing(self._source), closing(self._in_flight):
            for followed in self._followed:
                followed.start()
            while not stop():
                self.step()
            self._settle()

    def step(self) -> int:
        """One round; returns how many records were processed."""
        records = self._source.poll(self._options.max_records, self._options.poll_seconds)
        for followed in self._followed:
            followed.poll()
        if len(records):
            self._process(records)
        else:
            self._settle()
        if self._now() >= self._next_lag:
            self._metrics.lags(self._source.lag())
            self._next_lag = self._now() + self._options.lag_seconds
        return len(records)

    def _process(self, records: Records) -> None:
        with self._metrics.prepare.time():
            prepared = self._task.prepare(records)
        if not self._settle():
            return
        self._in_flight.start(prepared, lambda: self._commit(prepared))
        self._timestamps = records.timestamp
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
            self._metrics.committed(landed.prepared, latencies)
            self._metrics.last_commit.set(landed.seconds)
        return True
