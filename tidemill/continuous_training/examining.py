"""The gates on a job's model: what they are shown, and what is written of their verdict."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.continuous_training.context import JobContext
from tidemill.continuous_training.data import JobData
from tidemill.continuous_training.fitting import Fitted
from tidemill.processors.drift import write_reference
from tidemill.processors.frames import to_model_frame
from tidemill.processors.online_inference import Artefact, Scorer, dump_model, load_model
from tidemill.processors.training.gates import Examination, Origin, Tried, Verdict, card, examine, measures
from tidemill.processors.training.gates.resampling import Estimate
from tidemill.processors.training.offsets import offset_records
from tidemill.processors.training.reference import profiles_of_training
from tidemill.processors.training.scoring import metric_of
from tidemill.schemas.errors import ModelError
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.models import fetch_artefact
from tidemill.streams.rollout_log import RolloutLog
from tidemill.streams.trial_run import TrialProcess, run_trial

log = logging.getLogger(__name__)
_WHOLE = "all"


@dataclass(frozen=True)
class Examined:
    """The artefact, the verdict, and what is announced of them."""

    artefact: Artefact
    verdict: Verdict
    card: str
    estimates: Mapping[str, Estimate]
    labels: NDArray[Any]
    scores: NDArray[np.float64]
    event: dict[str, Any]


def examined(job: JobContext, data: JobData, made: Fitted, process: TrialProcess | None = None) -> Examined:
    """Examine a fitted model on the newest mature rows, as workers would serve it, beside champion and baseline.

    A `process` for its trial may have been started before.
    """
    target, names, gates = job.target, list(job.model.features), job.pipeline.gates
    rows = data.stretches.examine
    slices = () if job.pipeline.profiles is None else tuple(job.pipeline.profiles.slices)
    profiles = profiles_of_training(
        job.pipeline.name, names, target, made.rows, rows, _scores(made.model, job, rows), slices
    )
    artefact = dump_model(made.model).with_reference(write_reference(profiles))
    fresh = None if data.fresh is None else data.fresh.select(names)
    trial = run_trial(artefact, names, target, rows, fresh, trusted=job.trusted, seed=job.model.seed, process=process)
    given = Examination(
        target,
        rows["label"].to_numpy(zero_copy_only=False),
        trial.scores,
        _scores(made.baseline, job, rows),
        _champion(job, rows),
        gates,
        columns={name: rows[name] for name in (*gates.slices, *gates.sensitive)},
        features=names,
        rows=rows,
        trained=made.rows,
        fresh=data.fresh,
        fresh_scores=None if data.fresh is None else trial.fresh_scores,
        trial=trial.trial,
        parity=data.parity,
        seed=job.model.seed,
    )
    verdict = examine(given)
    page = card(_origin(job, data, made, artefact), given, verdict)
    estimates = measures(given, slices=False).get(_WHOLE, {})
    event = _event(job, data, made, given, verdict, page)
    return Examined(artefact, verdict, page, estimates, given.labels, given.candidate, event)


def _event(
    job: JobContext, data: JobData, made: Fitted, given: Examination, verdict: Verdict, page: str
) -> dict[str, Any]:
    """The record for the rollout log, but for the artefact's place."""
    measured = {"": None, "base_": given.baseline, "champion_": given.champion}
    figures = {
        f"{prefix}{name}": float(each.value)
        for prefix, scores in measured.items()
        if prefix == "" or scores is not None
        for name, each in measures(given, scores, slices=False).get(_WHOLE, {}).items()
        if np.isfinite(each.value)
    }
    return {
        "status": "shadow" if verdict.passed else "refused",
        "by": "gates",
        "reason": f"{made.name}, fitted on {made.window}. {verdict.reason}",
        "trigger_id": job.id,
        "job_id": job.id,
        "dataset": data.dataset.id,
        "gates": verdict.to_json(),
        "card": page,
        "estimator": type(made.model).__name__,
        "features": list(job.model.features),
        "classes": [str(label) for label in given.target.classes],
        "trained_from": made.rows["event_time"][0].as_py(),
        "trained_until": made.rows["event_time"][-1].as_py(),
        "training_offsets": offset_records(made.rows),
        "training_rows": made.rows.num_rows,
        "evaluation_rows": len(given.labels),
        "metrics": figures,
    }


def _champion(job: JobContext, rows: pa.Table) -> NDArray[np.float64] | None:
    """The champion's scores of the same rows; None if there is none, or if it cannot be asked here, which is logged."""
    plan = job.pipeline.plan()
    champion = RolloutLog(plan, job.connection).rollout().champion
    if champion is None:
        return None
    features = list(champion.event["features"])
    missing = [name for name in features if name not in rows.column_names]
    try:
        if missing:
            raise ModelError(f"the data set lacks features of it: {', '.join(missing)}")
        with closing(KafkaReader(job.connection)) as reader:
            artefact = fetch_artefact(plan.topic("model-artefacts"), champion.event, reader)
        model = load_model(artefact, champion.event["artefact_sha256"], job.trusted)
    except ModelError as error:
        log.warning("champion %s cannot be compared with: %s", champion.version, error)
        return None
    return _scores(model, job, rows, features)


def _scores(model: Any, job: JobContext, rows: pa.Table, names: Sequence[str] | None = None) -> NDArray[np.float64]:
    frame = to_model_frame(rows, list(names or job.model.features))
    scores, _ = Scorer(model, job.target).score(frame)
    return scores


def _origin(job: JobContext, data: JobData, made: Fitted, artefact: Artefact) -> Origin:
    greater = metric_of(job.model.metric, job.target).greater
    scores: dict[str, list[float | None]] = {}
    for trial in made.searched.trials:
        scores.setdefault(trial.candidate, []).append(trial.score)
    tried = [Tried(name, len(mine), _best(mine, greater=greater)) for name, mine in scores.items()]
    return Origin(
        job.pipeline.name,
        f"{made.name} ({type(made.model).__name__})",
        artefact.sha256[:12],
        made.params,
        data.dataset.id,
        {
            "learnt": f"{_day(made.rows, 0)} to {_day(made.rows, -1)} ({made.window})",
            "examined on": f"{_day(data.stretches.examine, 0)} to {_day(data.stretches.examine, -1)}",
        },
        tried,
        f"{job.trigger['cause']}: {job.trigger['reason']}",
        job.id,
    )


def _best(scores: Sequence[float | None], *, greater: bool) -> float | None:
    known = [score for score in scores if score is not None]
    return (max if greater else min)(known) if known else None


def _day(rows: pa.Table, place: int) -> str:
    return str(rows["event_time"][place].as_py())[:16]
