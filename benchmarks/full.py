"""A worker to be measured: the production task, loop and commit, which tells when it was at work and what that took.

It warms up in memory (what is compiled and loaded once does not count), says `ready`, starts at a line on its standard
input, and stops when that is closed. Whenever it has nothing left to do it prints a line of figures: events so far, and
time of day and CPU seconds from the first batch in hand to the last commit.
"""

import json
import sys
import threading
import time
from contextlib import AbstractContextManager
from typing import Any

import job
from numpy.typing import NDArray

import tidemill as tm
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.metrics import Metrics
from tidemill.streams.plan import STAGES
from tidemill.streams.ports import Prepared
from tidemill.streams.worker import WorkerOptions, run_worker


class Stopwatch(Metrics):
    """The worker's metrics, which also note when the first batch was in hand and when the last one was committed."""

    def __init__(self) -> None:
        super().__init__()
        self._histogram, self.prepare = self.prepare, self  # type: ignore[assignment]
        self._first, self._cpu_before = 0.0, 0.0
        self._told, self._done = 0, {"events": 0, "first": 0.0, "last": 0.0, "cpu": 0.0}

    def time(self) -> AbstractContextManager[Any]:
        """Stand in for the histogram of `prepare`, which the loop starts when it has a batch in hand."""
        if not self._first:
            self._first, self._cpu_before = time.time(), time.process_time()
        return self._histogram.time()

    def committed(self, prepared: Prepared, latencies: NDArray[Any]) -> None:
        super().committed(prepared, latencies)
        events = self._done["events"] + len(latencies)
        self._done = {
            "events": events,
            "first": self._first,
            "last": time.time(),
            "cpu": time.process_time() - self._cpu_before,
        }
        self._fresh = True

    def tell(self) -> None:
        """Print the figures once nothing was committed since the last call."""
        if self._done["events"] == self._told == 0 or not self._done["events"]:
            return
        if self._fresh:
            self._fresh = False
        elif self._done["events"] != self._told:
            self._told = int(self._done["events"])
            print(json.dumps(self._done), flush=True)


def warm_up() -> None:
    """Every step of the job, on payments that are not measured."""
    driver = tm.testing.Driver(job.pipeline)
    driver.serve(job.fitted(job.pipeline))
    driver.send(job.payments(0, 5_000))
    driver.run()


def main(servers: str, slot: str, delivery: str) -> None:
    warm_up()
    stopped = threading.Event()
    print("ready", flush=True)
    sys.stdin.readline()
    threading.Thread(target=lambda: (sys.stdin.read(), stopped.set()), daemon=True).start()
    watch = Stopwatch()

    def stop() -> bool:
        watch.tell()
        return stopped.is_set()

    run_worker(job.pipeline.plan(), Connection(servers), WorkerOptions(STAGES, slot, delivery), watch, stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
