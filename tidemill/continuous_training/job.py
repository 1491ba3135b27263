"""One training job, from its trigger to what goes on the rollout log.

Nothing here is written that another run of the same job could not write again: the archive is exactly once by offset, a
data set is named by its content, chunks of an artefact by its hash. What counts is the result, which the runner writes.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.continuous_training.data import JobData, job_data, require_enough
from tidemill.continuous_training.fitting import Fitted, fit_candidates
from tidemill.pipeline import Pipeline
from tidemill.processors.drift import write_reference
from tidemill.processors.frames import to_model_frame
from tidemill.processors.online_inference import Artefact, Scorer, dump_model, load_model
from tidemill.processors.training.gates import Examination, Origin, Tried, Verdict, card, examine, measures
from tidemill.processors.training.reference import profiles_of_training
from tidemill.schemas.errors import DeclarationError, ModelError
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.archive import Archive
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.models import fetch_artefact, stored
from tidemill.streams.rollout_log import RolloutLog
from tidemill.streams.tracked import TrackedJob
from tidemill.streams.tracking import Tracking
from tidemill.streams.trial_run import run_trial

log = logging.getLogger(__name__)
LEAST_ROWS = 200
Tell = Callable[[str, float], None]


def run_job(
    pipeline: Pipeline,
    connection: Connection,
    spec: Mapping[str, Any],
    tell: Tell,
    *,
    home: Path,
    archive: Archive,
    registry: SchemaSource | None = None,
    trusted: Sequence[str] = (),
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> dict[str, Any]:
    """Do a job as its `spec` says; `tell` hears of each step and how far it is, from 0 to 1.

    Returns the result: its `state`, succeeded or refused, a `reason`, and the `announcement` for the rollout log, if
    there is a model.

    Raises:
        DeclarationError: the pipeline has nothing to train.
        StreamError: the topics or the archive cannot be read.

    """
    if pipeline.model is None or pipeline.labels is None:
        raise DeclarationError(f"pipeline {pipeline.name} declares no model, or no labels to learn from")
    trigger = spec["trigger"]
    since = None if trigger.get("since") is None else datetime.fromisoformat(trigger["since"])
    asked = since if trigger["cause"] == "request" else None
    tell("archiving", 0.02)
    try:
        data = job_data(pipeline, connection, archive, asked, registry=registry)
        require_enough(data.stretches, LEAST_ROWS)
        tell("searching", 0.1)
        made = _fit(pipeline, data, since, spec, home, tell)
    except ModelError as error:
        return {"state": "refused", "reason": str(error)}
    tell("examining", 0.8)
    return _examined(pipeline, connection, spec, data, made, home, trusted, now)


def _fit(
    pipeline: Pipeline, data: JobData, since: datetime | None, spec: Mapping[str, Any], home: Path, tell: Tell
) -> Fitted:
    assert pipeline.model is not None
    folder = home / "search"
    folder.mkdir(parents=True, exist_ok=True)
    done = 0

    def on_trial(trial: Any) -> None:  # noqa: ARG001
        nonlocal done
        done += 1
        assert pipeline.model is not None
        tell(f"searching: {done} trials", 0.1 + 0.65 * min(done / (pipeline.model.search_trials + 1), 1.0))

    return fit_candidates(
        pipeline.model,
        pipeline.target(),
        data.stretches,
        since,
        # A job that is begun again goes on with the trials that it has made: on the same data set only.
        storage=f"sqlite:///{folder / (pipeline.name + '.db')}",
        study=f"{spec['id']}-{data.dataset.id}",
        on_trial=on_trial,
    )


def _examined(
    pipeline: Pipeline,
    connection: Connection,
    spec: Mapping[str, Any],
    data: JobData,
    made: Fitted,
    home: Path,
    trusted: Sequence[str],
    now: Callable[[], datetime],
) -> dict[str, Any]:
    assert pipeline.model is not None
    target, names, plan = pipeline.target(), list(pipeline.model.features), pipeline.plan()
    rows = data.stretches.examine
    slices = () if pipeline.profiles is None else tuple(pipeline.profiles.slices)
    scores, _ = Scorer(made.model, target).score(to_model_frame(rows, names))
    profiles = profiles_of_training(pipeline.name, names, target, made.rows, rows, scores, slices)
    artefact = dump_model(made.model).with_reference(write_reference(profiles))
    fresh = None if data.fresh is None else data.fresh.select(names)
    trial = run_trial(artefact, names, target, rows, fresh, trusted=trusted, seed=pipeline.model.seed)
    records = RolloutLog(plan, connection).rollout()
    champion = None if records.champion is None else records.champion.event
    given = Examination(
        target,
        rows["label"].to_numpy(zero_copy_only=False),
        trial.scores,
        _scores(made.baseline, target, names, rows),
        None if champion is None else _champion(plan, connection, champion, target, rows, trusted),
        pipeline.gates,
        columns={name: rows[name] for name in (*pipeline.gates.slices, *pipeline.gates.sensitive)},
        features=names,
        rows=rows,
        trained=made.rows,
        fresh=data.fresh,
        fresh_scores=trial.fresh_scores if data.fresh is not None else None,
        trial=trial.trial,
        seed=pipeline.model.seed,
    )
    verdict = examine(given)
    page = card(_origin(pipeline, spec, data, made, artefact), given, verdict)
    event = _event(pipeline, spec, data, made, given, verdict, page)
    announcement = stored(plan, artefact, event, now(), Publisher(connection, "tidemill-train"))
    _track(pipeline, spec, data, made, given, verdict, page, artefact, home)
    return {
        "state": "succeeded" if verdict.passed else "refused",
        "reason": event["reason"],
        "dataset": data.dataset.id,
        "candidate": made.name,
        "model_version": announcement["model_version"],
        "metrics": event["metrics"],
        "gates": event["gates"],
        "announcement": announcement,
    }


def _event(
    pipeline: Pipeline,
    spec: Mapping[str, Any],
    data: JobData,
    made: Fitted,
    given: Examination,
    verdict: Verdict,
    page: str,
) -> dict[str, Any]:
    figures = {name: each.value for name, each in measures(given, slices=False).get("all", {}).items()}
    base = {f"base_{name}": each.value for name, each in measures(given, given.baseline, slices=False)["all"].items()}
    before = {}
    if given.champion is not None:
        found = measures(given, given.champion, slices=False).get("all", {})
        before = {f"champion_{name}": each.value for name, each in found.items()}
    assert pipeline.model is not None
    return {
        "status": "shadow" if verdict.passed else "refused",
        "by": "gates",
        "reason": f"{made.name} on {made.window}: {verdict.reason}",
        "trigger_id": spec["id"],
        "job_id": spec["id"],
        "dataset": data.dataset.id,
        "gates": verdict.to_json(),
        "card": page,
        "estimator": type(made.model).__name__,
        "features": list(pipeline.model.features),
        "classes": [str(label) for label in given.target.classes],
        "trained_from": made.rows["event_time"][0].as_py(),
        "trained_until": made.rows["event_time"][-1].as_py(),
        "training_offsets": _offsets(made.rows),
        "training_rows": made.rows.num_rows,
        "evaluation_rows": len(given.labels),
        "metrics": {name: float(value) for name, value in {**figures, **base, **before}.items() if np.isfinite(value)},
    }


def _offsets(rows: pa.Table) -> list[dict[str, int]]:
    grouped = rows.group_by("source_partition").aggregate([("source_offset", "min"), ("source_offset", "max")])
    found = [
        {"partition": row["source_partition"], "first": row["source_offset_min"], "last": row["source_offset_max"]}
        for row in grouped.to_pylist()
    ]
    return sorted(found, key=lambda each: each["partition"])


def _champion(
    plan: Any, connection: Connection, event: Mapping[str, Any], target: Any, rows: pa.Table, trusted: Sequence[str]
) -> NDArray[np.float64] | None:
    """The champion's scores of the same rows; None if it cannot be loaded or asked here, which is logged."""
    missing = [name for name in event["features"] if name not in rows.column_names]
    try:
        if missing:
            raise ModelError(f"the data set lacks features of it: {', '.join(missing)}")
        with closing(KafkaReader(connection)) as reader:
            artefact = fetch_artefact(plan.topic("model-artefacts"), event, reader)
        model = load_model(artefact, event["artefact_sha256"], trusted)
    except ModelError as error:
        log.warning("champion %s cannot be compared with: %s", event["model_version"], error)
        return None
    return _scores(model, target, list(event["features"]), rows)


def _scores(model: Any, target: Any, names: list[str], rows: pa.Table) -> NDArray[np.float64]:
    scores, _ = Scorer(model, target).score(to_model_frame(rows, names))
    return scores


def _origin(pipeline: Pipeline, spec: Mapping[str, Any], data: JobData, made: Fitted, artefact: Artefact) -> Origin:
    trials = made.searched.trials
    tried = [
        Tried(name, len(mine), _best([t.score for t in mine if t.score is not None], made.searched.metric))
        for name in dict.fromkeys(trial.candidate for trial in trials)
        for mine in [[trial for trial in trials if trial.candidate == name]]
    ]
    cut = data.stretches
    return Origin(
        pipeline.name,
        f"{made.name} ({type(made.model).__name__})",
        artefact.sha256[:12],
        made.params,
        data.dataset.id,
        {
            "learnt": f"{_day(made.rows, 0)} to {_day(made.rows, -1)} ({made.window})",
            "examined on": f"{_day(cut.examine, 0)} to {_day(cut.examine, -1)}",
        },
        tried,
        f"{spec['trigger']['cause']}: {spec['trigger']['reason']}",
        spec["id"],
    )


def _best(scores: Sequence[float], metric: str) -> float | None:
    if not scores:
        return None
    return max(scores) if metric in ("accuracy", "auc") else min(scores)


def _day(rows: pa.Table, place: int) -> str:
    return str(rows["event_time"][place].as_py())[:16]


def _track(
    pipeline: Pipeline,
    spec: Mapping[str, Any],
    data: JobData,
    made: Fitted,
    given: Examination,
    verdict: Verdict,
    page: str,
    artefact: Artefact,
    home: Path,
) -> None:
    """In MLflow, as far as it can be reached."""
    estimates = measures(given, slices=False).get("all", {})
    told = TrackedJob(
        job_id=spec["id"],
        trigger_id=spec["id"],
        verdict="passed" if verdict.passed else "refused",
        params={"candidate": made.name, "window": made.window, **made.params},
        metrics={name: each.value for name, each in estimates.items() if np.isfinite(each.value)},
        intervals={name: (each.low, each.high) for name, each in estimates.items()},
        metric=made.searched.metric,
        trials=made.searched.trials,
        dataset=data.dataset.id,
        manifest=dict(data.dataset.manifest),
        card=page,
        version=artefact.sha256[:12],
        model=artefact.data,
        model_format=artefact.format,
    )
    Tracking(pipeline.name, folder=home / "mlflow").record(told)


def end_with_runner() -> None:
    """End this process when its standard input closes: its runner has gone, and another one does the job."""

    def wait() -> None:
        # Not sys.stdin, whose lock the interpreter would want at its end.
        while os.read(sys.__stdin__.fileno() if sys.__stdin__ else 0, 1):
            pass
        os._exit(os.EX_TEMPFAIL)

    threading.Thread(target=wait, daemon=True).start()
