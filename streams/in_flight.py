"""The commit that is under way while the next batch is prepared."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import Protocol

from tidemill.streams.ports import Assignments, Prepared


class Stateful(Assignments, Protocol):
    """A task, as far as commits concern it."""

    def committed(self, prepared: Prepared) -> None:
        """Take note that a commit succeeded."""
        ...


@dataclass(frozen=True)
class Landed:
    """A commit that succeeded, and when by the clock that it was given."""

    prepared: Prepared
    seconds: float


class InFlight:
    """At most one commit under way; without an executor it has landed when `start` returns.

    To a source it stands for the task: a partition comes or goes only after what is under way has ended, so that
    nobody restores a state that is about to change, and no commit speaks for a partition that is gone.
    """

    def __init__(self, task: Stateful, executor: Executor | None = None) -> None:
        self._task, self._executor = task, executor
        self._prepared: Prepared | None = None
        self._future: Future[float] = Future()
        self._noted = True

    @property
    def background(self) -> bool:
        """Whether a commit may still be under way when `start` returns."""
        return self._executor is not None

    @property
    def landed(self) -> bool:
        """Whether a commit has ended and is not settled."""
        return self._prepared is not None and self._future.done()

    def start(self, prepared: Prepared, commit: Callable[[], float]) -> None:
        """Begin a commit; `commit` does it and returns the time. The one before must have been settled."""
        assert self._prepared is None, "one commit at a time: settle the one before"
        self._prepared, self._noted = prepared, False
        if self._executor is not None:
            self._future = self._executor.submit(commit)
            return
        self._future = Future()
        try:
            self._future.set_result(commit())
        except BaseException as error:  # noqa: BLE001 - raised again by settle, as from a thread
            self._future.set_exception(error)

    def settle(self) -> Landed | None:
        """Wait for what is under way, None if nothing is; raises what its commit raised."""
        if self._prepared is None:
            return None
        self._wait()
        prepared, self._prepared = self._prepared, None
        return Landed(prepared, self._future.result())

    def _wait(self) -> None:
        if self._noted:
            return
        self._noted = True
        if self._future.exception() is None:
            assert self._prepared is not None
            self._task.committed(self._prepared)

    def assigned(self, partition: int) -> int | None:
        """See `Assignments.assigned`."""
        self._wait()
        return self._task.assigned(partition)

    def revoked(self, partition: int) -> None:
        """See `Assignments.revoked`."""
        self._wait()
        self._task.revoked(partition)

    def close(self) -> None:
        """Wait for what is under way; what it raised has been settled, or an earlier error is on its way."""
        if self._prepared is not None:
            self._future.exception()
