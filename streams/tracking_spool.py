"""Training jobs that are to be written down in MLflow, in a folder: jobs leave them there, and runners take them.

MLflow takes seconds to import and to open, in which no model is better. A runner has it open already.
"""

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tidemill.processors.training.search import Trial
from tidemill.streams.tracked import TrackedJob
from tidemill.streams.tracking import Tracking


def leave(folder: Path, job: TrackedJob) -> None:
    """Put a job into the folder, whole or not at all; it takes the place of an earlier attempt."""
    folder.mkdir(parents=True, exist_ok=True)
    trials = [{name: getattr(trial, name) for name in _TRIAL} for trial in job.trials]
    pictures = {name: b64encode(picture).decode() for name, picture in job.plots.items()}
    told = asdict(replace(job, trials=(), plots={}, model=b""))
    told |= {"trials": trials, "plots": pictures, "model": b64encode(job.model).decode()}
    unfinished = folder / f".{job.job_id}"
    unfinished.write_text(json.dumps(told, default=str))
    unfinished.replace(folder / f"{job.job_id}.json")


def left(folder: Path) -> Iterator[tuple[Path, TrackedJob]]:
    """What is in the folder, in the order in which it was left."""
    found = [(path.stat().st_mtime_ns, path) for path in folder.glob("*.json")] if folder.exists() else []
    for _, path in sorted(found):
        yield path, _job(json.loads(path.read_text()))


def record_left(folder: Path, tracking: Tracking) -> bool:
    """Write down what is in the folder; what MLflow does not take stays there. True if nothing is left."""
    done = True
    for path, job in left(folder):
        if tracking.record(job) is None:
            done = False
        else:
            path.unlink(missing_ok=True)
    return done


def _job(told: dict[str, Any]) -> TrackedJob:
    return TrackedJob(
        **{
            **told,
            "trials": tuple(Trial(**{**each, "folds": tuple(each["folds"])}) for each in told["trials"]),
            "plots": {name: b64decode(picture) for name, picture in told["plots"].items()},
            "intervals": {name: (low, high) for name, (low, high) in told["intervals"].items()},
            "model": b64decode(told["model"]),
        }
    )


_TRIAL = ("number", "candidate", "params", "state", "score", "folds", "error")
