"""The processes that a benchmark starts: each ends with it, whatever happens."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tidemill.streams.kafka.connection import Connection

HERE = Path(__file__).parent
STALLED_SECONDS = 120


def settings(declared: dict[str, Any], workers: int = 1) -> dict[str, str]:
    """The environment of a process that works on a variant of the job: threads as `tidemill run` shares them out."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    share = str(max(1, cores // (2 * workers)))
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    threads |= {"POLARS_MAX_THREADS": share, "NUMBA_NUM_THREADS": share}
    return os.environ | threads | {"TIDEMILL_BENCH": json.dumps(declared)}


@contextmanager
def child(script: str, *arguments: object, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A script of this folder in a process of its own."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    process = subprocess.Popen(command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def result_of(script: str, *arguments: object, env: dict[str, str]) -> dict[str, float]:
    """What a script prints at its end."""
    with child(script, *arguments, env=env) as process:
        out, _ = process.communicate()
        if process.returncode:
            raise RuntimeError(f"{script} failed with {process.returncode}; its message is above")
    return dict(json.loads(out.strip().splitlines()[-1]))


class Workers:
    """Several of `full.py` on one job."""

    def __init__(self, processes: Sequence[subprocess.Popen[str]]) -> None:
        self._processes = processes
        self._told: list[dict[str, float]] = [{} for _ in processes]
        for process in processes:
            assert process.stdout is not None
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError("a worker failed before it was ready; its message is above")
        for place in range(len(processes)):
            threading.Thread(target=self._listen, args=(place,), daemon=True).start()

    def _listen(self, place: int) -> None:
        for line in self._processes[place].stdout or ():
            self._told[place] = json.loads(line)

    def go(self) -> None:
        """Let them start."""
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()

    def done(self, events: int) -> dict[str, float]:
        """Wait until they have done so many; seconds from the first batch to the last commit, and their CPU seconds."""
        deadline = time.monotonic() + STALLED_SECONDS
        while sum(told.get("events", 0) for told in self._told) < events:
            time.sleep(0.02)
            if any(process.poll() is not None for process in self._processes):
                raise RuntimeError("a worker has died; its message is above")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{events:,} events were not done after {STALLED_SECONDS} s: {self._told}")
        told = [one for one in self._told if one]
        seconds = max(one["last"] for one in told) - min(one["first"] for one in told)
        return {"events": events, "seconds": seconds, "cpu": sum(one["cpu"] for one in told)}


@contextmanager
def workers(
    connection: Connection, declared: dict[str, Any], *, delivery: str = "exactly-once", count: int = 1
) -> Iterator[Workers]:
    """`count` workers on a variant of the job, warm and ready to start."""
    with ExitStack() as stack:
        env = settings(declared, count)
        arguments = [(connection.bootstrap_servers, slot, delivery) for slot in range(count)]
        yield Workers([stack.enter_context(child("full.py", *given, env=env)) for given in arguments])
