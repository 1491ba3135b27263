"""What the loop has done in the year: triggers, jobs, models; and what the year would have been without it."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score

from tidemill.pipeline import Pipeline
from tidemill.processors.frames import to_model_frame
from tidemill.processors.online_inference import Scorer, load_model
from tidemill.processors.online_inference.stage import PRIOR
from tidemill.results import RetrainTrigger, TrainingJob
from tidemill.streams.history import read_topic
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.models import fetch_artefact
from tidemill.streams.schema_topic import SchemaTopic

_ENDED = ("succeeded", "refused", "failed", "cancelled")


def under_way(triggers: Mapping[str, RetrainTrigger], jobs: Mapping[str, TrainingJob]) -> list[str]:
    """The triggers whose jobs have not ended."""
    return [
        name
        for name, trigger in triggers.items()
        if trigger.state == "fired" and (name not in jobs or jobs[name].state not in _ENDED)
    ]


def retrain_rows(
    triggers: Mapping[str, RetrainTrigger], jobs: Mapping[str, TrainingJob], models: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Each trigger that fired: its job, the gates' verdict, and what became of its model."""
    rows = []
    for trigger in sorted(triggers.values(), key=lambda each: (each.at, each.id)):
        if trigger.state != "fired":
            continue
        job = jobs.get(trigger.id)
        steps = [model for model in models if job is not None and model["model_version"] == job.model_version]
        rows.append(
            {
                "at": trigger.at.date().isoformat(),
                "cause": trigger.cause,
                "trigger": trigger.reason,
                "job": None if job is None else job.state,
                "candidate": "" if job is None else job.candidate,
                "model_version": "" if job is None else job.model_version,
                "verdict": "" if job is None else job.reason,
                "rollout": [model["status"] for model in steps],
                "last": steps[-1]["reason"].split(" {")[0] if steps else "",
            }
        )
    return rows


def static_and_adaptive(
    pipeline: Pipeline, connection: Connection, first: Mapping[str, Any], schemas: SchemaTopic
) -> dict[str, dict[str, float]]:
    """Log-loss and AUC of what was answered, and of what the first model would have answered to the same flights.

    Only flights that a model has answered, not the prior, and each with its last label.
    """
    plan = pipeline.plan()
    assert plan.make_outcomes is not None
    stage = plan.make_outcomes()
    with closing(KafkaReader(connection)) as reader:
        table = read_topic(plan.topic("outcomes"), plan.contracts["outcomes"], reader, schemas)
        artefact = fetch_artefact(plan.topic("model-artefacts"), first, reader)
    rows = (
        pl.DataFrame(table)
        .sort("revision")
        .unique("event_id", keep="last", maintain_order=True)
        .filter(pl.col("model_version") != PRIOR)
        .to_arrow()
    )
    names = list(first["features"])
    columns = {name: rows[stage.name_of(name)] for name in names}
    scorer = Scorer(load_model(artefact, first["artefact_sha256"]), pipeline.target())
    static, _ = scorer.score(to_model_frame(pa.table(columns), names))
    late = rows["label"].to_numpy(zero_copy_only=False)
    served = rows["probability_true"].to_numpy()
    return {"static": _figures(late, static[:, 1]), "adaptive": _figures(late, served)}


def _figures(late: NDArray[Any], scores: NDArray[np.float64]) -> dict[str, float]:
    kept = np.isfinite(scores)
    return {
        "log_loss": round(float(log_loss(late[kept], scores[kept], labels=[False, True])), 5),
        "auc": round(float(roc_auc_score(late[kept], scores[kept])), 5),
        "flights": int(kept.sum()),
    }
