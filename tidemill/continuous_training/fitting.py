"""A job's model: the best candidate, fitted on the window of rows that does best on newer ones."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from tidemill.declaration import Model
from tidemill.processors.frames import to_model_frame
from tidemill.processors.online_inference.target import Target
from tidemill.processors.training.candidates import BASELINE
from tidemill.processors.training.columns import WEIGHT
from tidemill.processors.training.fitting import copy_of, fitted
from tidemill.processors.training.scoring import metric_of
from tidemill.processors.training.search import Rung, Searched, Trial, baseline_of, measured, search
from tidemill.processors.training.stretches import Stretches, windows
from tidemill.schemas.errors import ModelError


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
    by_window: dict[str, float]
    """The metric of each window of rows, on the rows that it was chosen by."""


def fit_candidates(
    model: Model,
    target: Target,
    cut: Stretches,
    since: Any,
    *,
    storage: Any = None,
    study: str = "search",
    jobs: int | None = 1,
    on_trial: Callable[[Trial], None] = lambda trial: None,  # noqa: ARG005
) -> Fitted:
    """Search the candidates on the older rows, choose the window on newer ones, and fit on both.

    Raises:
        ModelError: nothing could be fitted, or nothing is better than the baseline.

    """
    found = search(
        model.every_candidate,
        model.features,
        target,
        cut.train,
        cut.choose,
        metric=model.metric,
        trials=model.search_trials,
        seed=model.seed,
        storage=storage,
        study=study,
        jobs=jobs,
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
    for name, rows in windows(cut.train, since).items():
        figure = measured(estimator, found.params, _rung(names, rows, cut.choose), metric.name, target, model.seed)
        if not isinstance(figure, str):
            by_window[name] = figure
    if not by_window:
        raise ModelError(f"candidate {found.name} could not be fitted on any window of rows")
    best = (max if metric.greater else min)(by_window, key=lambda name: by_window[name])
    everything = pa.concat_tables([cut.train, cut.choose])
    chosen = windows(everything, since).get(best, everything)
    return Fitted(
        fitted(
            copy_of(estimator, found.params, model.seed),
            to_model_frame(chosen, names),
            _labels(chosen),
            _weights(chosen),
        ),
        fitted(copy_of(baseline_of(target)), to_model_frame(everything, names), _labels(everything)),
        found.name,
        found.params,
        best,
        chosen,
        found,
        by_window,
    )


def _rung(names: list[str], fit: pa.Table, measure: pa.Table) -> Rung:
    return Rung(
        to_model_frame(fit, names), _labels(fit), _weights(fit), to_model_frame(measure, names), _labels(measure)
    )


def _labels(rows: pa.Table) -> NDArray[Any]:
    values: NDArray[Any] = rows["label"].to_numpy(zero_copy_only=False)
    return values


def _weights(rows: pa.Table) -> NDArray[Any] | None:
    if WEIGHT not in rows.column_names:
        return None
    values: NDArray[Any] = rows[WEIGHT].to_numpy()
    return values
