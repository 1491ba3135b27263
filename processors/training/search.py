"""The search over candidates and their parameters for the model that does best on what came after its training."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from joblib import Parallel, delayed, effective_n_jobs
from numpy.typing import NDArray

from tidemill.processors.frames import to_model_frame
from tidemill.processors.online_inference.scorer import Scorer
from tidemill.processors.online_inference.target import Target
from tidemill.processors.training.candidates import BASELINE, Candidate
from tidemill.processors.training.columns import WEIGHT
from tidemill.processors.training.fitting import copy_of, fitted
from tidemill.processors.training.folds import Fold, checked, time_folds
from tidemill.processors.training.scoring import Metric, metric_of
from tidemill.processors.training.study import CANDIDATE, ERROR, PLACE, SCORES, Study, params_of
from tidemill.schemas.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd

FOLDS = 3
"""Folds inside the training rows, beside the validation rows."""
LEAST_ROWS = 2


@dataclass(frozen=True)
class Trial:
    """One set of parameters of one candidate, and how it did.

    `state` is "complete", "pruned" or "failed". `folds` are the metric's figures fold by fold as far as it came, and
    `score` their mean by rows: of all folds if it is complete, else None. `params` is empty for one as declared.
    """

    number: int
    candidate: str
    params: dict[str, Any]
    state: str
    score: float | None = None
    folds: tuple[float, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Searched:
    """What a search found: the best candidate with its parameters, fitted on all training rows unless `refit` was off.

    `name` is "baseline" if nothing did better than that. `baseline` is the fitted baseline; the first of `trials` is
    its. `score` and `baseline_score` are means of `metric` over the folds.
    """

    name: str
    params: dict[str, Any]
    model: Any
    baseline: Any
    trials: tuple[Trial, ...]
    metric: str = ""
    score: float = float("nan")
    baseline_score: float = float("nan")


@dataclass(frozen=True)
class Rung:
    """Rows to fit on and rows to measure on, as models see them."""

    fit: "pd.DataFrame" = field(repr=False)
    labels: NDArray[Any] = field(repr=False)
    weights: NDArray[Any] | None = field(repr=False)
    measure: "pd.DataFrame" = field(repr=False)
    happened: NDArray[Any] = field(repr=False)


def search(
    candidates: Sequence[Candidate],
    features: Sequence[str],
    target: Target,
    train: pa.Table,
    validation: pa.Table,
    *,
    metric: str | None = None,
    trials: int = 20,
    seed: int = 0,
    folds: Sequence[Fold] | None = None,
    storage: Any = None,
    study: str = "search",
    alone: bool = True,
    jobs: int | None = 1,
    refit: bool = True,
    on_trial: Callable[[Trial], None] = lambda trial: None,  # noqa: ARG005
) -> Searched:
    """Try the candidates, first each as declared, then parameters that an Optuna study draws, `trials` in all.

    The tables have the features and a column `label`; with `event_time` and `label_time` no model is fitted on a label
    that was not known when the rows it is measured on began. Each trial goes through folds that grow with time:
    `folds`, as places in `train` (by default `time_folds`, if there are times), and at last `train` against
    `validation`, if that has rows. A trial that is worse than half of the finished ones after a fold is given up
    (median stopping); one as declared never is. A column `sample_weight` counts in fitting, never in measuring.

    One seed, one table and one `jobs` give one result. With a `storage` (Optuna's, or its URL) a search that was cut
    off goes on where it stood: with one job its trials and its result are those of an uncut one; with more, if it was
    cut between two rounds. Several processes may share the storage with `alone=False`: their trials are drawn from
    what is finished by then, so they depend on who was quicker. Each returns the best of what was finished when
    it found nothing left to do; a last call, alone, sees all.

    `jobs` trials are fitted side by side by joblib: `joblib.parallel_config(backend=...)` around the call chooses
    processes, threads, dask or ray; None takes the number from there. `on_trial` is told each trial at its end.
    Without `refit` the best is not fitted on all training rows: for those who fit it on others.

    Raises:
        ModelError: there is too little to learn from, or no candidate could be fitted; Optuna is not installed.
        DeclarationError: the metric is unknown or not for this target.

    """
    figure, names = metric_of(metric, target), list(features)
    rungs = _rungs(names, target, train, validation, folds)
    guess = baseline_of(target)
    base = _run([(guess, {})], rungs, figure, target, seed, 1, lambda place, step, value: False)[0]  # noqa: ARG005
    if isinstance(base, str):
        raise ModelError(f"the baseline cannot be fitted: {base}")
    first = Trial(-1, BASELINE, {}, "complete", _mean(base, rungs), tuple(base))
    on_trial(first)
    record = Study(candidates, seed=seed, greater=figure.greater, name=study, storage=storage, alone=alone)
    while places := record.free(trials, _width(jobs)):
        _round(record, places, rungs, figure, target, seed, jobs, on_trial)
    made = _trials(record, candidates)
    best = _best(first, made, figure)
    estimators = {BASELINE: guess} | {candidate.name: candidate.estimator for candidate in candidates}
    assert best.score is not None
    assert first.score is not None
    model = baseline = None
    if refit:
        whole = to_model_frame(train, names), labels_of(train), _weights(train)
        model = fitted(copy_of(estimators[best.candidate], best.params, seed), *whole)
        baseline = fitted(copy_of(guess), *whole)
    return Searched(
        best.candidate,
        best.params,
        model,
        baseline,
        (first, *made),
        figure.name,
        best.score,
        first.score,
    )


def baseline_of(target: Target) -> Any:
    """The guess that knows only the labels: the classes' shares, or the median."""
    from sklearn.dummy import DummyClassifier, DummyRegressor

    return DummyClassifier(strategy="prior") if target.classes else DummyRegressor(strategy="median")


def _round(
    record: Study,
    places: Sequence[int],
    rungs: Sequence[Rung],
    metric: Metric,
    target: Target,
    seed: int,
    jobs: int | None,
    on_trial: Callable[[Trial], None],
) -> None:
    """One trial for each place, side by side."""
    asked = [record.ask(place) for place in places]
    seen: list[list[float]] = [[] for _ in asked]

    def stop(place: int, step: int, value: float) -> bool:
        seen[place].append(value)
        return record.report(asked[place][0], step, _mean(seen[place], rungs))

    found = _run([(each.estimator, params) for _, each, params in asked], rungs, metric, target, seed, jobs, stop)
    for (handle, candidate, params), outcome, figures in zip(asked, found, seen, strict=True):
        error = outcome if isinstance(outcome, str) else ""
        score = _mean(figures, rungs) if not error and len(figures) == len(rungs) else None
        record.tell(handle, figures, score, error)
        state = "failed" if error else "pruned" if score is None else "complete"
        on_trial(Trial(handle.number, candidate.name, params, state, score, tuple(figures), error))


def _run(
    models: Sequence[tuple[Any, dict[str, Any]]],
    rungs: Sequence[Rung],
    metric: Metric,
    target: Target,
    seed: int,
    jobs: int | None,
    stop: Callable[[int, int, float], bool],
) -> list[list[float] | str]:
    """Each model's figures rung by rung, or why it has none; all that are left meet at each rung."""
    found: list[list[float] | str] = [[] for _ in models]
    left = list(range(len(models)))
    for step, rung in enumerate(rungs):
        tasks = [(*models[place], rung, metric.name, target, seed) for place in left]
        if jobs == 1 or len(tasks) == 1:
            figures = [measured(*task) for task in tasks]
        else:
            figures = list(Parallel(n_jobs=jobs)(delayed(measured)(*task) for task in tasks))
        for place, figure in zip(list(left), figures, strict=True):
            so_far = found[place]
            if isinstance(figure, str) or isinstance(so_far, str):
                found[place] = figure if isinstance(figure, str) else so_far
                left.remove(place)
                continue
            so_far.append(figure)
            # After the last rung there is nothing to give up.
            if stop(place, step, figure) and step + 1 < len(rungs):
                left.remove(place)
    return found


def measured(estimator: Any, params: dict[str, Any], rung: Rung, metric: str, target: Target, seed: int) -> float | str:
    """The metric of a fresh copy on the rows after those that it was fitted on, or why there is none."""
    from sklearn.exceptions import ConvergenceWarning

    try:
        with warnings.catch_warnings():
            # Some of the parameters that are drawn need more steps than others: the figure tells.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = fitted(copy_of(estimator, params, seed), rung.fit, rung.labels, rung.weights)
        scores, failures = Scorer(model, target).score(rung.measure)
        if failures:
            return f"it fails on {len(failures)} of {len(rung.measure)} events: {failures[0].message}"
        figure = metric_of(metric, target).figure(target, rung.happened, scores)
    except Exception as error:  # noqa: BLE001 - whatever a candidate raises, the others are tried
        return f"{type(error).__name__}: {error}"
    return figure if np.isfinite(figure) else f"its {metric} is {figure}"


def _width(jobs: int | None) -> int:
    """How many trials are under way at once."""
    if jobs == 1:
        return 1
    return max(1, int(effective_n_jobs(jobs if jobs is not None else Parallel().n_jobs)))


def _rungs(
    features: list[str], target: Target, train: pa.Table, validation: pa.Table, folds: Sequence[Fold] | None
) -> list[Rung]:
    if train.num_rows < LEAST_ROWS:
        raise ModelError(f"expected labelled events to train on, found {train.num_rows}; widen the stretch")
    if target.classes and len(np.unique(labels_of(train))) == 1:
        raise ModelError(f"all {train.num_rows} events to train on have one label; widen the stretch")
    timed = {"event_time", "label_time"} <= set(train.column_names)
    if folds is None:
        folds = time_folds(_times(train, "event_time"), _times(train, "label_time"), FOLDS) if timed else []
    made = [(train.take(fit), train.take(measure)) for fit, measure in checked(folds, train.num_rows)]
    if validation.num_rows:
        known = train
        if timed and "event_time" in validation.column_names:
            known = train.filter(pc.less_equal(train["label_time"], pc.min(validation["event_time"])))
        made.append((known, validation))
    rungs = [_rung(features, fit, measure) for fit, measure in made if _teaches(target, fit) and measure.num_rows]
    if not rungs:
        raise ModelError(
            f"of {train.num_rows} events to train on and {validation.num_rows} to measure on, no split by time leaves"
            " some with known labels of several classes before others; widen the stretch"
        )
    return rungs


def _teaches(target: Target, rows: pa.Table) -> bool:
    return rows.num_rows >= LEAST_ROWS and (not target.classes or len(np.unique(labels_of(rows))) > 1)


def _rung(features: list[str], fit: pa.Table, measure: pa.Table) -> Rung:
    return Rung(
        to_model_frame(fit, features),
        labels_of(fit),
        _weights(fit),
        to_model_frame(measure, features),
        labels_of(measure),
    )


def _trials(record: Study, candidates: Sequence[Candidate]) -> tuple[Trial, ...]:
    """What the record has, in the order of places; of two with one place, that with the lower number."""
    known = {candidate.name: candidate for candidate in candidates}
    made: dict[int, Trial] = {}
    for trial in record.finished():
        attributes = trial.user_attrs
        state = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}[trial.state.name]
        made.setdefault(
            attributes[PLACE],
            Trial(
                trial.number,
                attributes[CANDIDATE],
                params_of(trial, known),
                state,
                trial.value if state == "complete" else None,
                tuple(attributes[SCORES]),
                attributes.get(ERROR, ""),
            ),
        )
    return tuple(made[place] for place in sorted(made))


def _best(first: Trial, made: Sequence[Trial], metric: Metric) -> Trial:
    """The best complete trial, of equal ones the earliest."""
    if made and all(trial.state == "failed" for trial in made):
        errors = "; ".join(f"{trial.candidate}: {trial.error}" for trial in made[:3])
        raise ModelError(f"no candidate could be fitted and asked: {errors}")
    best = first
    for trial in made:
        assert best.score is not None
        if trial.score is not None and metric.better(trial.score, best.score):
            best = trial
    return best


def _mean(figures: Sequence[float], rungs: Sequence[Rung]) -> float:
    """The mean by rows of the folds so far."""
    return float(np.average(figures, weights=[len(rung.happened) for rung in rungs[: len(figures)]]))


def labels_of(table: pa.Table) -> NDArray[Any]:
    """The column `label` as an array."""
    values: NDArray[Any] = table["label"].to_numpy(zero_copy_only=False)
    return values


def _weights(table: pa.Table) -> NDArray[Any] | None:
    if WEIGHT not in table.column_names:
        return None
    values: NDArray[Any] = pc.cast(table[WEIGHT], pa.float64()).to_numpy(zero_copy_only=False)
    return values


def _times(table: pa.Table, name: str) -> NDArray[Any]:
    values: NDArray[Any] = table[name].to_numpy(zero_copy_only=False)
    return values
