"""The job, in one worker: the production task, loop and commit, stopped after so many events."""

import json
import sys
import time

from tidemill.loading import load_pipeline
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.metrics import Metrics
from tidemill.streams.plan import STAGES
from tidemill.streams.worker import WorkerOptions, run_worker


class Stopwatch(Metrics):
    """The worker's metrics, which also know when the first batch was there and when the last one was committed."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left, self.started, self.cpu = count, 0.0, 0.0
        self.result: dict[str, float] = {}

    def committed(self, prepared, latencies) -> None:  # type: ignore[no-untyped-def]
        super().committed(prepared, latencies)
        self.left -= len(latencies)
        if not self.started:
            # The first batch pays for what is compiled and loaded once; it is not counted.
            self.started, self.cpu = time.perf_counter(), time.process_time()
            self.counted = self.left
        elif self.left <= 0:
            seconds, cpu = time.perf_counter() - self.started, time.process_time() - self.cpu
            self.result = {"seconds": seconds, "cpu": cpu, "events": self.counted - self.left}


def main(servers: str, reference: str, count: int, delivery: str) -> None:
    """Process `count` events; prints seconds and CPU seconds."""
    watch = Stopwatch(count)
    plan = load_pipeline(reference).plan()
    options = WorkerOptions(STAGES, slot=str(time.time_ns()), delivery=delivery)
    run_worker(plan, Connection(servers), options, watch, lambda: bool(watch.result))
    print(json.dumps(watch.result))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
