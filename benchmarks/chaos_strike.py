"""Kills its own process in a chosen step of a commit; the pipeline file loads it, so that `tidemill run` knows nothing.

A file `arm` in the run's folder names the step and how many times it is passed first; the worker that comes to it first
renames the file and is gone. The rename is the moment of the fault.
"""

import faulthandler
import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tidemill.streams.kafka.committer import ExactlyOnce, Outbox
from tidemill.streams.ports import ChangelogEntry, Output

STEPS = ("begin", "some_outputs", "outputs", "changelog", "offsets", "commit")
"""After what the process dies; `commit` is before the worker takes note of it."""


def arm(folder: Path, step: str, passes: int) -> None:
    """Have a worker die after this step, the `passes`-th time from now."""
    (folder / "arming").write_text(json.dumps({"step": step, "passes": passes}))
    (folder / "arming").rename(folder / "arm")


class Striker:
    """Counts the passes of the armed step."""

    def __init__(self, folder: Path) -> None:
        self._armed, self._struck = folder / "arm", folder / "struck"
        self._passed = 0

    def after(self, step: str, first: Callable[[], object] = lambda: None) -> None:
        """Die if it is this step's turn, once `first` is done."""
        if not self.awaits(step):
            return
        self._passed += 1
        if self._passed < json.loads(self._armed.read_text())["passes"]:
            return
        first()
        try:
            self._armed.rename(self._struck)
        except FileNotFoundError:  # another worker was quicker
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def awaits(self, step: str) -> bool:
        """Whether this step is armed."""
        try:
            return bool(json.loads(self._armed.read_text())["step"] == step)
        except FileNotFoundError:
            return False


class _Watched:
    """A producer whose transaction's steps are passed on to the striker."""

    def __init__(self, producer: Any, striker: Striker) -> None:
        self._producer, self._striker = producer, striker

    def __getattr__(self, name: str) -> Any:
        return getattr(self._producer, name)

    def begin_transaction(self) -> None:
        self._producer.begin_transaction()
        self._striker.after("begin")

    def send_offsets_to_transaction(self, *arguments: Any) -> None:
        self._producer.send_offsets_to_transaction(*arguments)
        self._striker.after("offsets")

    def commit_transaction(self, *arguments: Any) -> None:
        self._producer.commit_transaction(*arguments)
        self._striker.after("commit")


def install(folder: Path) -> None:
    """Wrap the committer of this process."""
    # Asked by SIGUSR1, a process that seems stuck says where it is.
    faulthandler.register(signal.SIGUSR1)
    striker = Striker(folder)
    make, send, send_changelog = ExactlyOnce.__init__, Outbox.send, Outbox.send_changelog

    def made(self: ExactlyOnce, *arguments: Any) -> None:
        make(self, *arguments)
        self._producer = _Watched(self._producer, striker)  # type: ignore[assignment]

    def sent(self: Outbox, outputs: Sequence[Output]) -> None:
        if striker.awaits("some_outputs"):
            send(self, outputs[:1])
            striker.after("some_outputs", self.producer.flush)
            outputs = outputs[1:]
        send(self, outputs)
        striker.after("outputs", self.producer.flush)

    def sent_changelog(self: Outbox, topic: str, entries: Sequence[ChangelogEntry]) -> None:
        send_changelog(self, topic, entries)
        striker.after("changelog", self.producer.flush)

    ExactlyOnce.__init__ = made  # type: ignore[method-assign]
    Outbox.send, Outbox.send_changelog = sent, sent_changelog  # type: ignore[method-assign]
