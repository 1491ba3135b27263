"""What other systems are told of a job: runs in MLflow, run events by OpenLineage. Neither can break it."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from tidemill.continuous_training.context import JobContext
from tidemill.continuous_training.data import JobData
from tidemill.continuous_training.examining import Examined
from tidemill.continuous_training.fitting import Fitted
from tidemill.processors.drift import reference_profiles, summary
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.lineage import JobRun, LineageDataset, State, model_dataset, open_lineage, table_dataset
from tidemill.streams.plots import pictures
from tidemill.streams.tracked import TrackedJob
from tidemill.streams.tracking import Tracking
from tidemill.streams.tracking_spool import leave

log = logging.getLogger(__name__)


def track(job: JobContext, data: JobData, made: Fitted, found: Examined) -> None:
    """Write the job down in MLflow, as far as that is wanted and can be reached."""
    if not job.tracking:
        return
    told = TrackedJob(
        job_id=job.id,
        trigger_id=job.id,
        verdict="passed" if found.verdict.passed else "refused",
        params={"candidate": made.name, "window": made.window, **made.params},
        metrics={name: each.value for name, each in found.estimates.items() if np.isfinite(each.value)},
        intervals={name: (each.low, each.high) for name, each in found.estimates.items()},
        metric=made.searched.metric,
        trials=made.searched.trials,
        dataset=data.dataset.id,
        manifest=dict(data.dataset.manifest),
        profile=json.dumps([summary(each) for each in reference_profiles(found.artefact.data).values()]),
        plots=_pictures(job, found),
        card=found.card,
        version=found.artefact.sha256[:12],
        model=found.artefact.data,
        model_format=found.artefact.format,
    )
    if job.left is None:
        Tracking(job.pipeline.name, folder=job.home / "mlflow").record(told)
    else:
        leave(job.left, told)


def _pictures(job: JobContext, found: Examined) -> Mapping[str, bytes]:
    answered = np.isfinite(found.scores).all(axis=1)
    if not answered.any():
        return {}
    try:
        return pictures(found.labels[answered], found.scores[answered], job.target.classes)
    except Exception as error:  # noqa: BLE001 - a picture must not cost a model
        log.warning("job %s: there are no pictures (%s: %s)", job.id, type(error).__name__, error)
        return {}


def tell_lineage(
    job: JobContext,
    state: State,
    *,
    data: JobData | None = None,
    announcement: Mapping[str, Any] | None = None,
    reason: str | None = None,
) -> None:
    """Send a run event, if lineage goes anywhere."""
    name, servers = job.pipeline.name, job.connection.bootstrap_servers
    inputs: list[LineageDataset] = []
    for suffix, table in ({} if data is None else data.dataset.manifest["tables"]).items():
        facts = {"dataset": "" if data is None else data.dataset.id, "offsets": table["offsets"]}
        inputs.append(table_dataset(f"{job.archive.root}/{suffix}", table["version"], facts=facts))
    outputs = [] if announcement is None else [model_dataset(servers, name, announcement["model_version"])]
    gates = [] if announcement is None else json.loads(announcement["gates"])
    run = JobRun(
        name,
        job.id,
        job.spec["attempt"],
        inputs=inputs,
        outputs=outputs,
        trigger=job.trigger,
        gates=gates,
        error=reason if state == "FAIL" else None,
    )
    open_lineage(job.lineage, name, lambda: Publisher(job.connection, "tidemill-lineage")).tell(state, run)
