"""The broker's process: started as nobody's child, found again by its command line."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

_POLL_SECONDS = 0.02
_KILL_SECONDS = 10
_EXEC_SECONDS = 1
# Linux shows processes as files, and a slim image of it may lack `ps`; macOS has `ps` only.
_PROC = Path("/proc")


def spawn(command: list[str], folder: Path, console: Path, pid_file: Path) -> None:
    """Start a process that outlives this one, in a session of its own, and write its pid.

    A terminal's Ctrl-C does not reach it: who started it decides when it stops. A shell in between makes it nobody's
    child, so that it leaves no zombie in a program that runs on after it.
    """
    script = 'console=$1; pid_file=$2; shift 2; "$@" </dev/null >"$console" 2>&1 & echo $! >"$pid_file"'
    subprocess.run(
        ["/bin/sh", "-c", script, "sh", console, pid_file, *command],
        cwd=folder,
        start_new_session=True,
        check=True,
    )


def find(pid_file: Path, command_end: str) -> int | None:
    """Return the pid in the file if that process's command line ends as given; None for a stranger or a dead one."""
    try:
        pid = int(pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    # While a process becomes another program (exec) it has no command line; the broker has just been started then.
    deadline = time.monotonic() + _EXEC_SECONDS
    while not (found := _command_line(pid)) and _alive(pid) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS / 10)
    return pid if found.endswith(command_end) else None


def end(pid_file: Path, command_end: str, grace_seconds: float) -> bool:
    """Ask the process to stop, and kill it when the grace is over. False where there was none."""
    pid = find(pid_file, command_end)
    if pid is None:
        return False
    _signal(pid, signal.SIGTERM)
    if not _gone(pid, grace_seconds):
        kill(pid_file, command_end)
    return True


def kill(pid_file: Path, command_end: str) -> bool:
    """Kill the process at once (SIGKILL) and wait until it has gone. False where there was none."""
    pid = find(pid_file, command_end)
    if pid is None:
        return False
    _signal(pid, signal.SIGKILL)
    _gone(pid, _KILL_SECONDS)
    return True


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _gone(pid: int, seconds: float) -> bool:
    """Wait until the process has given back its files and ports. False when it has not in time."""
    deadline = time.monotonic() + seconds
    while _alive(pid):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _alive(pid: int) -> bool:
    """Tell whether the process still holds its files and ports.

    A zombie does not, and a container's first process may never reap it. But a process whose first thread is a zombie
    does, until its last thread has ended.
    """
    if not (_PROC / "self").exists():
        return _ps(pid, "state=")[:1] not in ("", "Z")
    try:
        state = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        return state not in ("Z", "X") or len(list((_PROC / str(pid) / "task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def _command_line(pid: int) -> str:
    """Return the command line, its arguments joined by blanks; empty for a process that is gone or a zombie."""
    if not (_PROC / "self").exists():
        return _ps(pid, "command=")
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return os.fsdecode(raw.rstrip(b"\0").replace(b"\0", b" "))


def _ps(pid: int, column: str) -> str:
    answer = subprocess.run(["ps", "-ww", "-o", column, "-p", str(pid)], capture_output=True, check=False)
    return os.fsdecode(answer.stdout).strip()
