"""Worker processes: started, restarted when they crash, stopped together."""

import fcntl
import logging
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tidemill.schemas.errors import StreamError, TidemillError

STOP_SECONDS = 30.0
CRASHES = 5
CRASH_WINDOW_SECONDS = 60.0
FAILED = os.EX_TEMPFAIL
"""Exit code of a worker that could not go on with the cluster as it is; started again, it may."""

log = logging.getLogger(__name__)


class Slot:
    """A worker's place in a folder, held by a lock that ends with the process that holds it.

    The place names the worker's transactional id: taken again after a crash, it lets the broker abort at once what the
    predecessor left open. Two workers with the same name would fence each other, so that the folder has an identity of
    its own: two folders on a machine, or two containers with the same host name, share no place.
    """

    def __init__(self, folder: Path, file: IO[str], name: str) -> None:
        self.folder, self._file, self.name = folder, file, name

    @staticmethod
    def take(folder: Path, group: str) -> "Slot":
        """The first free place of a group of stages."""
        folder.mkdir(parents=True, exist_ok=True)
        place = f"{socket.gethostname()}-{_identity(folder)}"
        for number in range(1_000):
            file = (folder / f"{group}.{number}.lock").open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            return Slot(folder, file, f"{place}-{number}")
        raise StreamError(f"no free place for a worker in {folder}")

    def release(self) -> None:
        """Let another worker have the place."""
        self._file.close()


def _identity(folder: Path) -> str:
    """A random name, drawn once for each folder."""
    with (folder / "id").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        found = file.read()
        if not found:
            found = secrets.token_hex(4)
            file.write(found)
        return found


@dataclass
class _Child:
    command: list[str]
    process: subprocess.Popen[bytes]
    crashes: list[float] = field(default_factory=list)
    restart_at: float | None = None


class Supervisor:
    """Runs commands as child processes until it is told to stop.

    Children end with it, however it ends: each holds the other end of a pipe on its standard input and stops when
    that closes. A child that crashes, or ends by FAILED, is started again; one that ends by a refusal (exit code 2), or
    crashes too often, ends all.
    """

    def __init__(self, commands: Sequence[list[str]], environment: dict[str, str], slots: Sequence[Slot] = ()) -> None:
        self._slots = slots
        self._environment = os.environ | environment
        self._children = [_Child(command, self._start(command)) for command in commands]

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        # A session of its own, so that Ctrl-C reaches the supervisor alone, which then stops its children in order.
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=self._environment, start_new_session=True)

    @property
    def pids(self) -> list[int]:
        """The children that run now."""
        return [child.process.pid for child in self._children if child.process.poll() is None]

    def run(self, stop: Callable[[], bool]) -> None:
        """Watch over the children until `stop` says so.

        Raises:
            StreamError: a child refused to run, or crashed too often; the others were stopped.

        """
        try:
            while not stop():
                self.watch()
                time.sleep(0.05)
        finally:
            self.stop()

    def watch(self) -> None:
        """Start again what has crashed."""
        now = time.monotonic()
        for child in self._children:
            code = child.process.poll()
            if code is None:
                continue
            if child.restart_at is None:
                self._judge(child, code, now)
            elif now >= child.restart_at:
                child.restart_at = None
                child.process = self._start(child.command)

    def _judge(self, child: _Child, code: int, now: float) -> None:
        if code == TidemillError.exit_code:
            raise StreamError("a worker refused to run; its message is above")
        child.crashes = [t for t in child.crashes if now - t < CRASH_WINDOW_SECONDS] + [now]
        how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if len(child.crashes) > CRASHES:
            raise StreamError(
                f"a worker crashed {len(child.crashes)} times in {CRASH_WINDOW_SECONDS:.0f} s, last by {how}; giving up"
            )
        delay = 0.2 * 2 ** (len(child.crashes) - 1)
        log.warning("worker %d ended by %s; starting it again in %.1f s", child.process.pid, how, delay)
        child.restart_at = now + delay

    def stop(self) -> None:
        """Let every child finish its batch and leave; whoever does not within a deadline is killed."""
        for child in self._children:
            if child.process.stdin is not None:
                child.process.stdin.close()
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for child in self._children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("worker %d did not stop within %.0f s and is killed", child.process.pid, STOP_SECONDS)
                child.process.kill()
                child.process.wait()
        for slot in self._slots:
            slot.release()
