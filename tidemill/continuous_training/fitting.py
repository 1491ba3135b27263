"""A job's model: the best candidate, fitted on the window of rows that does best on newer ones."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from tidemill.continuous_training.account import spend
from tidemill.continuous_training.context import JobContext
from tidemill.continuous_training.data import JobData
from tidemill.processors.frames import to_model_frame
from tidemill.processors.training.candidates import BASELINE
from tidemill.processors.training.columns import WEIGHT
from tidemill.processors.training.fitting import copy_of, fitted
from tidemill.processors.training.privacy import DifferentialPrivacy
from tidemill.processors.training.private_search import private_search
from tidemill.processors.training.scoring import metric_of
from tidemill.processors.training.search import Rung, Searched, Trial, baseline_of, labels_of, measured, search
from tidemill.processors.training.stretches import windows
from tidemill.schemas.errors import ModelError
from tidemill.streams.noise import fresh_noise

_WINDOWS = {
    "all": "all rows",
    "since the change": "the rows since the change",
    "newest half": "the newest half of the rows",
    "newest quarter": "the newest quarter of the rows",
    "newest eighth": "the newest eighth of the rows",
}


@dataclass(frozen=True)
class Fitted:
    """The chosen model and the baseline, fitted anew on all rows up to those that it is examined on."""

    model: Any
    baseline: Any
    name: str
    params: dict[str, Any]
    window: str
    """What it was fitted on; see `stretches.windows`."""
    rows: pa.Table
    searched: Searched
    epsilon: float = 0.0
    """How much of the rows' privacy it has spent."""


def fit_candidates(job: JobContext, data: JobData) -> Fitted:
    """Search the candidates on the older rows, choose the window on newer ones, and fit on both.

    A job that is begun again goes on with the trials that it has made, on the same data set only.

    Raises:
        ModelError: nothing could be fitted, or nothing is better than the baseline.

    """
    model, target, cut = job.model, job.target, data.stretches
    (job.home / "search").mkdir(parents=True, exist_ok=True)
    done = 0

    def on_trial(trial: Trial) -> None:  # noqa: ARG001
        nonlocal done
        done += 1
        job.tell(f"searching: {done} trials", 0.1 + 0.65 * min(done / (model.search_trials + 1), 1.0))

    found = search(
        model.every_candidate,
        model.features,
        target,
        cut.train,
        cut.choose,
        metric=model.metric,
        trials=model.search_trials,
        seed=model.seed,
        storage=f"sqlite:///{job.home / 'search' / (job.pipeline.name + '.db')}",
        study=f"{job.id}-{data.dataset.id}",
        refit=False,
        on_trial=on_trial,
    )
    if found.name == BASELINE:
        raise ModelError(
            f"none of {len(found.trials) - 1} trials is better than the baseline, whose {found.metric} is"
            f" {found.baseline_score:.4f}"
        )
    estimator = next(each.estimator for each in model.every_candidate if each.name == found.name)
    metric, names = metric_of(model.metric, target), list(model.features)
    by_window: dict[str, float] = {}
    for name, rows in windows(cut.train, job.since).items():
        figure = measured(estimator, found.params, _rung(names, rows, cut.choose), metric.name, target, model.seed)
        if not isinstance(figure, str):
            by_window[name] = figure
    if not by_window:
        raise ModelError(f"candidate {found.name} could not be fitted on any window of rows")
    best = (max if metric.greater else min)(by_window, key=lambda name: by_window[name])
    everything = pa.concat_tables([cut.train, cut.choose])
    chosen = windows(everything, job.since).get(best, everything)
    fresh = copy_of(estimator, found.params, model.seed)
    return Fitted(
        fitted(fresh, to_model_frame(chosen, names), labels_of(chosen), _weights(chosen)),
        fitted(copy_of(baseline_of(target)), to_model_frame(everything, names), labels_of(everything)),
        found.name,
        found.params,
        _WINDOWS.get(best, best),
        chosen,
        found,
    )


def fit_privately(job: JobContext, data: JobData, privacy: DifferentialPrivacy) -> Fitted:
    """Fit the declared estimator once, with differential privacy, on all rows but those that it is examined on.

    Raises:
        ModelError: the budget of these rows is spent, or it cannot be fitted.

    """
    cut = data.stretches
    rows = pa.concat_tables([cut.train, cut.choose])
    spent = spend(job, privacy, data.dataset.id, rows)
    found = private_search(
        job.model.estimator,
        privacy,
        job.model.features,
        job.target,
        rows,
        cut.examine,
        fresh_noise(),
        metric=job.model.metric,
    )
    return Fitted(found.model, found.baseline, found.name, found.params, _WINDOWS["all"], rows, found, spent.epsilon)


def _rung(names: list[str], fit: pa.Table, measure: pa.Table) -> Rung:
    return Rung(
        to_model_frame(fit, names), labels_of(fit), _weights(fit), to_model_frame(measure, names), labels_of(measure)
    )


def _weights(rows: pa.Table) -> NDArray[Any] | None:
    if WEIGHT not in rows.column_names:
        return None
    values: NDArray[Any] = rows[WEIGHT].to_numpy()
    return values
