"""Trying a candidate as a worker would run it, in a process of its own that may hang, grow or die."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Collection, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa

from tidemill.processors.online_inference import Target
from tidemill.processors.online_inference.artefact import Artefact
from tidemill.processors.online_inference.scorer import Scores
from tidemill.processors.training.gates.trial import Trial

SECONDS = 120.0
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
_LAST_WORDS = 300
_START_SECONDS = 120.0


class TrialProcess:
    """A process in which one candidate can be tried. It starts when this is made, while others do something else.

    A context manager: whatever is left of the process ends with it.
    """

    def __init__(self) -> None:
        self._kept = TemporaryDirectory(prefix="tidemill-trial-")
        self.folder = Path(self._kept.name)
        """Where what it is to do goes, and what it finds."""
        ready, tell = os.pipe()
        self._ready = os.fdopen(ready, "rb", buffering=0)
        try:
            with (self.folder / "said").open("wb") as said:
                self._child = subprocess.Popen(
                    [sys.executable, "-m", "tidemill.streams.trial_process", str(self.folder), str(tell)],
                    stdin=subprocess.PIPE,
                    stdout=said,
                    stderr=said,
                    pass_fds=(tell,),
                    env=os.environ | _ONE_THREAD,
                    start_new_session=True,
                )
        finally:
            os.close(tell)

    def run(self, seconds: float) -> str:
        """Let it do what is in the folder; returns why it came to no good end, or nothing.

        Time counts from when the candidate's part begins.
        """
        assert self._child.stdin is not None
        try:
            with suppress(BrokenPipeError):
                self._child.stdin.write(b"go\n")
                self._child.stdin.flush()
            select.select([self._ready], [], [], _START_SECONDS)
            code = self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"its time of {seconds:g} s was over"
        if code == 0 and (self.folder / "done").exists():
            return ""
        if code < 0:
            return f"its process was ended by {signal.Signals(-code).name}"
        words = (self.folder / "said").read_bytes()[-_LAST_WORDS:].decode("utf-8", "replace").strip().splitlines()
        return f"its process ended with code {code}" + (f" ({words[-1]})" if words else "")

    def close(self) -> None:
        """End the process with all that it has started, which are the group that it leads."""
        if self._ready.closed:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._ready.close()
        assert self._child.stdin is not None
        with suppress(BrokenPipeError):
            self._child.stdin.close()
        self._kept.cleanup()


@dataclass(frozen=True)
class TrialRun:
    """What was measured, and the candidate's scores of both tables; NaN where it gave none.

    These are what gates should judge: they come from the artefact as it would be served, loaded where nothing is left
    of the process that fitted it.
    """

    trial: Trial
    scores: Scores
    fresh_scores: Scores


def run_trial(
    artefact: Artefact,
    features: Sequence[str],
    target: Target,
    rows: pa.Table,
    fresh: pa.Table | None = None,
    *,
    trusted: Collection[str] = (),
    seconds: float = SECONDS,
    seed: int = 0,
    process: TrialProcess | None = None,
) -> TrialRun:
    """Load the artefact in a new process, score `rows` and `fresh`, probe it, time it; for so many seconds at most.

    The seconds count from when Python and Tidemill are there, which takes longer on a busy machine.

    `rows` are the mature ones, and `fresh` those served since, with the features as served. `trusted` are the hashes
    that workers are started with: what they would refuse to load, a trial refuses as well. A fault of the candidate is
    never raised, but told as the trial's `failure`. A `process` that was started before is used up.
    """
    fresh = rows.slice(0, 0) if fresh is None else fresh
    with closing(process or TrialProcess()) as trying:
        folder = trying.folder
        (folder / "artefact").write_bytes(artefact.data)
        for table, file in ((rows, "rows"), (fresh, "fresh")):
            with pa.OSFile(str(folder / file), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        order = {
            "format": artefact.format,
            "sha256": artefact.sha256,
            "trusted": list(trusted),
            "features": list(features),
            "classes": list(target.classes),
            "seed": seed,
            "path": sys.path,
        }
        (folder / "order.json").write_text(json.dumps(order))
        ended = trying.run(seconds)
        trial = _read(folder)
        if ended and not trial.failure:
            trial = replace(trial, failure=f"{ended} while {_stage(folder)}")
        width = len(target.classes) or 1
        return TrialRun(
            trial,
            _scores(folder / "scores.npy", rows.num_rows, width),
            _scores(folder / "fresh_scores.npy", fresh.num_rows, width),
        )


def _read(folder: Path) -> Trial:
    result = folder / "trial.json"
    return Trial.from_record(json.loads(result.read_text())) if result.exists() else Trial()


def _stage(folder: Path) -> str:
    stage = folder / "stage"
    return stage.read_text() if stage.exists() else "it was started"


def _scores(path: Path, rows: int, width: int) -> Scores:
    if not path.exists():
        return np.full((rows, width), np.nan)
    scores: Scores = np.load(path, allow_pickle=False)
    return scores
