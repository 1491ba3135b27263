"""Fitting the declared model, and measuring it on what came after."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.drift import Profile
from tidemill.processors.frames import to_model_frame
from tidemill.processors.online_inference.scorer import Scorer, Scores
from tidemill.processors.online_inference.target import Target
from tidemill.processors.training.fitting import copy_of, fitted
from tidemill.processors.training.reference import profiles_of_training
from tidemill.schemas.errors import ModelError

_LEAST_ROWS = 2


@dataclass(frozen=True)
class Training:
    """A fitted model, and how it did on the rows after those it was fitted on, beside the base rate."""

    model: Any
    metrics: dict[str, float]
    training_rows: int
    evaluation_rows: int
    profiles: tuple[Profile, ...] = ()
    """The model's reference: `profiles_of_training`."""


def fit(
    estimator: Any,
    features: list[str],
    target: Target,
    train: pa.Table,
    test: pa.Table,
    *,
    pipeline: str = "",
    slices: Sequence[str] = (),
) -> Training:
    """Fit a fresh copy of `estimator` on `train`, which has a column `label`, and evaluate it on `test`.

    Profiles of both are the model's reference: they name the `pipeline`, and there are some for each value of the
    fields `slices`.

    Raises:
        ModelError: there is too little to learn from, labels are not of the declared classes, or the model fails on
            events to evaluate on.

    """
    if train.num_rows < _LEAST_ROWS:
        raise ModelError(
            f"expected labelled events to train on, found {train.num_rows}; widen the stretch, or send labels"
        )
    labels = _labels(train)
    if target.classes and len(np.unique(labels)) == 1:
        raise ModelError(f"all {train.num_rows} events to train on have the label {labels[0]!r}; widen the stretch")
    model = fitted(copy_of(estimator), to_model_frame(train, features), labels)
    scores = _scores(model, features, target, test) if test.num_rows else None
    metrics = {} if scores is None else _figures(target, train, test, scores)
    profiles = profiles_of_training(pipeline, features, target, train, test, scores, slices)
    return Training(model, metrics, train.num_rows, test.num_rows, profiles)


def evaluate(model: Any, features: list[str], target: Target, train: pa.Table, test: pa.Table) -> dict[str, float]:
    """Measure on `test`, scored exactly as serving would; `base_*` is a guess that knows only the training labels.

    For classes: log-loss (natural logarithm), accuracy, and ROC AUC where there are two classes. For numbers: MAE
    and RMSE.
    """
    return _figures(target, train, test, _scores(model, features, target, test))


def _scores(model: Any, features: list[str], target: Target, test: pa.Table) -> Scores:
    scores, failures = Scorer(model, target).score(to_model_frame(test, features))
    if failures:
        raise ModelError(f"the fitted model fails on {len(failures)} of {test.num_rows} events: {failures[0].message}")
    return scores


def _figures(target: Target, train: pa.Table, test: pa.Table, scores: Scores) -> dict[str, float]:
    from sklearn.metrics import mean_absolute_error, mean_squared_error

    actual, learnt = _labels(test), _labels(train)
    if not target.classes:
        guess = np.full(len(actual), float(np.median(learnt)))
        return {
            "mae": float(mean_absolute_error(actual, scores[:, 0])),
            "base_mae": float(mean_absolute_error(actual, guess)),
            "rmse": float(mean_squared_error(actual, scores[:, 0]) ** 0.5),
            "base_rmse": float(mean_squared_error(actual, np.full(len(actual), float(np.mean(learnt)))) ** 0.5),
        }
    return class_metrics(target, actual, scores, base_rates(target, learnt))


def base_rates(target: Target, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Each class's share."""
    return np.array([float(np.mean(labels == label)) for label in target.classes])


def class_metrics(
    target: Target, actual: NDArray[Any], scores: NDArray[np.float64], rates: NDArray[np.float64]
) -> dict[str, float]:
    """Figures of probabilities against what happened, and of a guess that always answers `rates`."""
    from sklearn.metrics import log_loss, roc_auc_score

    unknown = set(actual.tolist()) - set(target.classes)
    if unknown:
        raise ModelError(
            f"there are labels that the pipeline does not declare: {sorted(unknown)}; declare their classes"
        )
    codes = np.array([target.classes.index(label) for label in actual.tolist()])
    every = list(range(len(target.classes)))
    guess = np.tile(rates, (len(codes), 1))
    figures = {
        "log_loss": float(log_loss(codes, _proper(scores), labels=every)),
        "base_log_loss": float(log_loss(codes, _proper(guess), labels=every)),
        "accuracy": float(np.mean(scores.argmax(axis=1) == codes)),
        "base_accuracy": float(np.mean(codes == rates.argmax())),
    }
    if every == [0, 1] and len(np.unique(codes)) > 1:
        figures["auc"] = float(roc_auc_score(codes, scores[:, 1]))
    return figures


def _proper(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    clipped: NDArray[np.float64] = np.clip(scores, 1e-15, 1.0)
    proper: NDArray[np.float64] = clipped / clipped.sum(axis=1, keepdims=True)
    return proper


def _labels(table: pa.Table) -> NDArray[Any]:
    values: NDArray[Any] = table["label"].to_numpy(zero_copy_only=False)
    return values
