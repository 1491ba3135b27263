"""One training job, from its trigger to what goes on the rollout log.

Nothing here is written that another run of the same job could not write again: the archive is exactly once by offset, a
data set is named by its content, chunks of an artefact by its hash. What counts is the result, which the runner writes.
"""

import os
import threading
from contextlib import closing, suppress
from importlib import import_module
from typing import Any

from tidemill.continuous_training.context import JobContext
from tidemill.continuous_training.data import JobData, job_data, require_enough
from tidemill.continuous_training.examining import examined
from tidemill.continuous_training.fitting import Fitted, fit_candidates, fit_privately
from tidemill.continuous_training.telling import tell_lineage, track
from tidemill.processors.online_inference.artefact import preload
from tidemill.schemas.errors import ModelError
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.models import stored
from tidemill.streams.trial_run import TrialProcess

LEAST_ROWS = 200


def run_job(job: JobContext) -> dict[str, Any]:
    """Do a job.

    Returns the result: its `state`, succeeded or refused, a `reason`, and the `announcement` for the rollout log, if
    there is a model.

    Raises:
        DeclarationError: the pipeline has nothing to train.
        StreamError: the topics or the archive cannot be read.

    """
    tell_lineage(job, "START")
    try:
        result = _run(job)
    except ModelError as error:
        tell_lineage(job, "COMPLETE", reason=str(error))
        return {"state": "refused", "reason": str(error)}
    except Exception as error:
        tell_lineage(job, "FAIL", reason=f"{type(error).__name__}: {error}")
        raise
    return result


def _run(job: JobContext) -> dict[str, Any]:
    job.tell("archiving", 0.02)
    data = job_data(job)
    require_enough(data.stretches, LEAST_ROWS)
    # It starts while candidates are fitted.
    with closing(TrialProcess()) as process:
        job.tell("searching", 0.1)
        made = _fitted(job, data)
        job.tell("examining", 0.8)
        found = examined(job, data, made, process)
    job.tell("storing", 0.95)
    sender = Publisher(job.connection, "tidemill-train")
    announcement = stored(job.pipeline.plan(), found.artefact, found.event, job.now(), sender)
    track(job, data, made, found)
    tell_lineage(job, "COMPLETE", data=data, announcement=announcement)
    return {
        "state": "succeeded" if found.verdict.passed else "refused",
        "reason": found.event["reason"],
        "dataset": data.dataset.id,
        "candidate": made.name,
        "model_version": announcement["model_version"],
        "metrics": found.event["metrics"],
        "gates": found.event["gates"],
        "epsilon": made.epsilon,
        "announcement": announcement,
    }


def _fitted(job: JobContext, data: JobData) -> Fitted:
    if job.model.privacy is not None:
        return fit_privately(job, data, job.model.privacy)
    return fit_candidates(job, data)


def warm(*, tracking: bool) -> None:
    """Import what every job needs sooner or later, and what one needs that is tracked."""
    preload()
    for name in ("deltalake", "optuna", "sqlalchemy", *(["matplotlib.figure"] if tracking else [])):
        with suppress(ImportError):
            import_module(name)


def end_with_runner() -> None:
    """End this process when its standard input closes: its runner has gone, and another one does the job."""

    def wait() -> None:
        # Not sys.stdin, whose lock the interpreter would want at its end.
        while os.read(0, 1):
            pass
        os._exit(os.EX_TEMPFAIL)

    threading.Thread(target=wait, daemon=True).start()
