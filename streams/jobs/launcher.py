"""Who runs a job: a process on this machine by default, or whatever else can run a command and read what it prints.

A job reads its specification as one line of JSON, and prints lines of JSON: `{"step": …, "progress": …}` while it
works, and `{"result": {…}}` at the end. It ends early when its input closes, so that it does not outlive its runner.
"""

import json
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Protocol

log = logging.getLogger(__name__)
_PAGE = os.sysconf("SC_PAGE_SIZE")
_SECONDS_TO_END = 10.0


@dataclass(frozen=True)
class JobSpec:
    """What a job is to do: its trigger, a row of `schemas/retrain_trigger.avsc`, and which attempt this is."""

    id: str
    attempt: int
    trigger: Mapping[str, Any]

    def line(self) -> str:
        """As the job reads it."""
        spec = {"id": self.id, "attempt": self.attempt, "trigger": self.trigger}
        return json.dumps(spec, default=lambda value: value.isoformat()) + "\n"


@dataclass(frozen=True)
class Limits:
    """What a job may take: wall time in seconds, and resident memory of all its processes in megabytes."""

    seconds: float = 3600.0
    megabytes: int | None = None


@dataclass
class Told:
    """What has come of a job since it was last asked: steps, and its result or why it has none."""

    steps: list[Mapping[str, Any]] = field(default_factory=list)
    result: Mapping[str, Any] | None = None
    failure: str | None = None


class Running(Protocol):
    """A job that was launched."""

    def poll(self) -> Told:
        """What it has told since; never waits."""
        ...

    def cancel(self) -> None:
        """End it, with all its processes; returns when it has ended."""
        ...


class Launcher(Protocol):
    """Starts jobs."""

    def launch(self, spec: JobSpec) -> Running:
        """Start one."""
        ...


class LocalProcess:
    """A `Launcher` that runs a command as a child process, in a process group of its own.

    With `ahead` the next job's process is started before there is a job, and after the one before has ended. It waits
    for its specification with all that takes seconds to import in memory.
    """

    def __init__(
        self,
        command: Sequence[str],
        limits: Limits,
        clock: Callable[[], float] = time.monotonic,
        environment: Mapping[str, str] | None = None,
        *,
        ahead: bool = False,
    ) -> None:
        self._command, self._limits, self._clock, self._environment = list(command), limits, clock, environment
        self._ahead = ahead
        self._waiting: subprocess.Popen[str] | None = None
        self._prepare()

    def launch(self, spec: JobSpec) -> "LocalJob":
        """Start it."""
        waiting = self._waiting
        process = waiting if waiting is not None and waiting.poll() is None else self._start()
        self._waiting = None
        return LocalJob(process, spec, self._limits, self._clock, self._prepare)

    def close(self) -> None:
        """End the process that waits for a job, if there is one."""
        if self._waiting is not None:
            _end_group(self._waiting)
            self._waiting.wait()
            assert self._waiting.stdout is not None
            self._waiting.stdout.close()
            self._waiting = None

    def _prepare(self) -> None:
        if self._ahead and self._waiting is None:
            self._waiting = self._start()

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env=None if self._environment is None else {**os.environ, **self._environment},
        )


class LocalJob:
    """A job as a child process."""

    def __init__(
        self,
        process: subprocess.Popen[str],
        spec: JobSpec,
        limits: Limits,
        clock: Callable[[], float],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._ended = ended
        self._process, self._limits, self._clock, self._began = process, limits, clock, clock()
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._result: Mapping[str, Any] | None = None
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(spec.line())
            process.stdin.flush()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as said:
            for line in said:
                self._lines.put(line)

    def poll(self) -> Told:
        """See `Running.poll`; a job that takes more than its limits is ended."""
        told = Told()
        code = self._process.poll()
        if code is not None:
            self._reader.join(_SECONDS_TO_END)
        with suppress(Empty):
            while True:
                self._take(self._lines.get_nowait(), told)
        if code is not None:
            self._end()
            if self._result is None:
                told.failure = _exit(code)
            told.result = self._result
            return told
        beyond = self._beyond_limits()
        if beyond is not None:
            self.cancel()
            told.failure = beyond
        return told

    def _take(self, line: str, told: Told) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            said = None
        if not isinstance(said, dict) or not said.keys() & {"result", "step"}:
            log.info("job: %s", line.rstrip())
        elif "result" in said:
            self._result = said["result"]
        else:
            told.steps.append(said)

    def _beyond_limits(self) -> str | None:
        if self._clock() - self._began > self._limits.seconds:
            return f"it took longer than {self._limits.seconds:g} s, and was ended"
        most = self._limits.megabytes
        used = None if most is None else resident_megabytes(self._process.pid)
        if most is not None and used is not None and used > most:
            return f"it took {used:,.0f} MB of memory, where {most:,} MB is the limit, and was ended"
        return None

    def cancel(self) -> None:
        """See `Running.cancel`."""
        self._end()
        self._process.wait()
        self._reader.join(_SECONDS_TO_END)

    def _end(self) -> None:
        """Its children as well, whatever has become of it."""
        _end_group(self._process)
        self._ended()


def _end_group(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.stdin is not None
    with suppress(BrokenPipeError):
        process.stdin.close()


def _exit(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code} and without a result; its log says why"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return f"it was ended by the signal {name}; was there too little memory?"


def resident_megabytes(group: int, processes: Path = Path("/proc")) -> float | None:
    """What the processes of a group have in memory; None on a system that does not say so."""
    if not (processes / "self" / "stat").exists():
        return None
    pages = 0
    for folder in processes.iterdir():
        if folder.name.isdigit():
            with suppress(OSError, IndexError, ValueError):
                # After the name, which is in parentheses and may hold anything: state, parent, group.
                if int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                    pages += int((folder / "statm").read_text().split()[1])
    return pages * _PAGE / 1e6
