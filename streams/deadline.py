"""A model's time: calls that are waited for no longer than a deadline."""

import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread

from tidemill.processors.online_inference.stage import Scored
from tidemill.schemas.errors import ModelDeadline

Work = Callable[[], Scored]
_Task = tuple[Work, Future[Scored]]


class Deadline:
    """Calls a function on a thread of its own, and waits for `seconds` at most.

    A thread cannot be ended from outside. One that misses its deadline is left to itself: until it comes back, every
    further call is refused at once, so that nothing queues up behind it; then calls are made again. What came too late
    is dropped. The thread ends with this object, and does not keep the process from ending.

    >>> Deadline(30)(lambda: "scores")
    'scores'
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._late: Future[Scored] | None = None
        Thread(target=_run, args=(self._tasks,), name="model", daemon=True).start()
        weakref.finalize(self, self._tasks.put, None)

    def __call__(self, work: Work) -> Scored:
        """What `work` returns or raises; raises ModelDeadline if that takes too long, or an earlier call still runs."""
        if self._late is not None:
            if not self._late.done():
                raise ModelDeadline(
                    "expected the model to come back from an earlier batch, for which its deadline of"
                    f" {self._seconds:g} s is over; it is asked again when it has"
                )
            self._late = None
        future: Future[Scored] = Future()
        self._tasks.put((work, future))
        try:
            return future.result(self._seconds)
        except TimeoutError:
            # The model may have raised a TimeoutError of its own, or have answered just now.
            if future.done():
                return future.result()
            self._late = future
        raise ModelDeadline(f"expected an answer from the model within its deadline of {self._seconds:g} s, got none")


def _run(tasks: SimpleQueue[_Task | None]) -> None:
    """Work off the queue until None comes; nothing of a task is kept when it is done."""
    while True:
        task = tasks.get()
        if task is None:
            return
        work, future = task
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            future.set_exception(error)
        except BaseException as error:  # noqa: BLE001 - what would end a process, a model does not mean this one
            future.set_exception(RuntimeError(f"{type(error).__name__}: {error}"))
        del task, work, future
