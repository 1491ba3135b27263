"""The process in which a candidate is tried: `python -m tidemill.streams.trial_process FOLDER DESCRIPTOR`.

What it is to do stands in the folder once a line comes in, and what it finds goes there, step by step, so that
something is known of a candidate that never comes back.
"""

import json
import os
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tidemill.processors.online_inference import Target
from tidemill.processors.online_inference.artefact import Artefact, load_model, preload
from tidemill.processors.online_inference.scorer import Scorer
from tidemill.processors.training.gates.probes import probe, score
from tidemill.processors.training.gates.resampling import generator
from tidemill.processors.training.gates.trial import Trial
from tidemill.schemas.errors import ModelError

BATCH = 10_000
_ROW_CALLS, _BATCH_CALLS, _WARM_UP = 200, 30, 3
_SECONDS = 5.0
_MIB = 1 << 20


def main(folder: Path, ready: Callable[[], None] = lambda: None, wanted: Callable[[], bool] = lambda: True) -> None:
    """Carry out what stands in the folder, if it is `wanted`; `ready` is called before the candidate's part begins."""
    preload()
    if not wanted():
        return
    order = json.loads((folder / "order.json").read_text())
    sys.path += [entry for entry in order["path"] if entry not in sys.path]
    ready()
    try:
        _try(folder, order)
    except ModelError as error:
        _write(folder, "trial.json", json.dumps(replace(Trial(), failure=str(error)).record()))
    (folder / "done").touch()


def _try(folder: Path, order: Mapping[str, Any]) -> None:
    target, names = Target(tuple(order["classes"])), list(order["features"])
    artefact = Artefact((folder / "artefact").read_bytes(), order["format"])
    rows, fresh = (_table(folder / name) for name in ("rows", "fresh"))
    size = _size()
    _stage(folder, "it was loaded")
    begun = time.perf_counter()
    scorer = _scorer(artefact, order, target)
    trial = Trial(load_ms=1e3 * (time.perf_counter() - begun))
    _note(folder, trial, size)
    _stage(folder, "it scored the mature rows")
    np.save(folder / "scores.npy", score(scorer, names, rows)[0])
    np.save(folder / "fresh_scores.npy", score(scorer, names, fresh)[0])
    _stage(folder, "it was probed")
    found = probe(scorer, names, rows, generator(order["seed"], "probe"))
    trial = replace(trial, **asdict(found))
    _note(folder, trial, size)
    if rows.num_rows:
        _stage(folder, "it was timed")
        many = rows.take(pa.array(np.arange(BATCH) % rows.num_rows))
        one = [rows.slice(place % rows.num_rows, 1) for place in range(_ROW_CALLS)]
        alone = _timed(lambda call: score(scorer, names, one[call % len(one)]), _ROW_CALLS)
        batches = _timed(lambda call: score(scorer, names, many), _BATCH_CALLS)  # noqa: ARG005
        trial = replace(trial, row_p99_ms=alone, batch_p99_ms=batches, batch_rows=BATCH)
    _note(folder, trial, size)


def _scorer(artefact: Artefact, order: Mapping[str, Any], target: Target) -> Scorer:
    try:
        return Scorer(load_model(artefact, order["sha256"], order["trusted"]), target)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"it cannot be asked for predictions ({type(error).__name__}: {error})") from error


def _timed(call: Callable[[int], Any], calls: int) -> float:
    """The 99th percentile of the milliseconds of so many calls, or of those that a few seconds have room for."""
    times: list[float] = []
    begun = time.perf_counter()
    for number in range(calls + _WARM_UP):
        start = time.perf_counter()
        call(number)
        times.append(1e3 * (time.perf_counter() - start))
        if time.perf_counter() - begun > _SECONDS:
            break
    warm = times[_WARM_UP:] or times
    return float(np.quantile(warm, 0.99))


def _size(peak: bool = False) -> int:
    """The process's size in bytes, now or at its largest; where only the latter is known, that."""
    status = Path("/proc/self/status")
    if status.exists():
        wanted = "VmHWM:" if peak else "VmRSS:"
        lines = [line for line in status.read_text().splitlines() if line.startswith(wanted)]
        return int(lines[0].split()[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def _note(folder: Path, trial: Trial, size: int) -> None:
    _write(folder, "trial.json", json.dumps(replace(trial, memory_mb=(_size(peak=True) - size) / _MIB).record()))


def _stage(folder: Path, words: str) -> None:
    _write(folder, "stage", words)


def _write(folder: Path, name: str, text: str) -> None:
    """Whole or not at all: the process may die at any moment."""
    fresh = folder / f"{name}.new"
    fresh.write_text(text)
    fresh.replace(folder / name)


def _table(path: Path) -> pa.Table:
    with pa.OSFile(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


if __name__ == "__main__":
    # Whoever waits sees the end of the one pipe, and this process that of the other when nobody does any more.
    main(Path(sys.argv[1]), lambda: os.close(int(sys.argv[2])), lambda: sys.stdin.readline() != "")
