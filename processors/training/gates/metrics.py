"""Metrics as functions of sums over rows, so that thousands of resamples of a data set cost few operations.

A metric gives a few terms for each row, and makes its value of their sums. The ROC AUC becomes one by its structural
components (DeLong, DeLong and Clarke-Pearson, 1988): how often a row's score stands right against the other class.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.drift.quality_kernel import CALIBRATION_BINS
from tidemill.processors.online_inference.target import Target
from tidemill.schemas.errors import DeclarationError, ModelError, nearest

Floats = NDArray[np.float64]
BINS = CALIBRATION_BINS
"""Bins of equal width of the expected calibration error (Naeini, Cooper and Hauskrecht, 2015), as in profiles."""
_LEAST_PROBABILITY = 1e-15


@dataclass(frozen=True)
class Answers:
    """What happened, as places in the classes or as numbers, and what a model said of it: a row each.

    `scores` has a column for each class, or one with the predicted number.
    """

    actual: NDArray[Any]
    scores: Floats

    @property
    def decided(self) -> NDArray[np.int64]:
        """The class of highest probability."""
        decided: NDArray[np.int64] = self.scores.argmax(axis=1)
        return decided

    @property
    def confidence(self) -> tuple[Floats, NDArray[np.bool_]]:
        """Probability of the second of two classes, or of the decided one of more, and whether it was that class."""
        if self.scores.shape[1] == 2:
            return self.scores[:, 1], self.actual == 1
        return self.scores.max(axis=1), self.decided == self.actual

    def take(self, rows: NDArray[Any]) -> "Answers":
        """These rows alone."""
        return Answers(self.actual[rows], self.scores[rows])


@dataclass(frozen=True)
class Metric:
    """One metric: `terms` gives an array of rows x terms, `value` takes sums of them, terms in the last axis.

    The value is NaN where the metric is not defined, such as an AUC with one class only.
    """

    name: str
    kind: str
    """What it is for: "classes", "two classes" or "numbers"."""
    higher_is_better: bool
    terms: Callable[[Answers], Floats]
    value: Callable[[Floats], Floats]

    def of(self, answers: Answers) -> float:
        """The metric of these rows."""
        return float(self.value(self.terms(answers).sum(axis=0)))

    def gain(self, difference: Any) -> Any:
        """A difference of values, so that what is above 0 is better."""
        return difference if self.higher_is_better else -difference


def answers(target: Target, labels: NDArray[Any], scores: Floats) -> Answers:
    """Labels and scores as metrics take them.

    Raises:
        ModelError: a label is not among the declared classes, or shapes do not fit.

    """
    if scores.shape != (len(labels), len(target.classes) or 1):
        raise ModelError(f"expected scores of shape {(len(labels), len(target.classes) or 1)}, got {scores.shape}")
    if not target.classes:
        return Answers(np.asarray(labels, dtype=np.float64), scores)
    unknown = set(labels.tolist()) - set(target.classes)
    if unknown:
        raise ModelError(
            f"there are labels that the pipeline does not declare: {sorted(unknown, key=str)}; declare their classes"
        )
    places = {label: place for place, label in enumerate(target.classes)}
    return Answers(np.array([places[label] for label in labels.tolist()], dtype=np.int64), scores)


def answered(scores: Floats) -> NDArray[np.bool_]:
    """Rows with finite scores."""
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(scores).all(axis=1))
    return finite


def metrics_for(target: Target) -> tuple[Metric, ...]:
    """The metrics that say something of this target, the one that decides by default first."""
    kinds = (
        {"numbers"} if not target.classes else {"classes"} | ({"two classes"} if len(target.classes) == 2 else set())
    )
    return tuple(metric for metric in METRICS if metric.kind in kinds)


def metric_named(name: str | None, target: Target) -> Metric:
    """The metric of this name, or the default (log_loss, mae); raises DeclarationError if the target has none such."""
    fitting = metrics_for(target)
    for metric in fitting:
        if name is None or metric.name == name:
            return metric
    raise DeclarationError(
        f"there is no metric {name!r} of such a target{nearest(str(name), [metric.name for metric in fitting])}"
    )


def _mean(row: Callable[[Answers], Any]) -> Callable[[Answers], Floats]:
    def terms(given: Answers) -> Floats:
        values = np.asarray(row(given), dtype=np.float64)
        return np.column_stack([values, np.ones(len(values))])

    return terms


def _ratio(sums: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        quotient: Floats = np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)
    return quotient


def _log_loss(given: Answers) -> Floats:
    proper = np.clip(given.scores, _LEAST_PROBABILITY, 1.0)
    loss: Floats = np.log(proper.sum(axis=1)) - np.log(proper[np.arange(len(proper)), given.actual])
    return loss


def _brier(given: Answers) -> Floats:
    happened = np.zeros_like(given.scores)
    happened[np.arange(len(happened)), given.actual] = 1.0
    squares: Floats = ((given.scores - happened) ** 2).sum(axis=1)
    return squares / 2 if given.scores.shape[1] == 2 else squares


def _hits_by_class(given: Answers) -> Floats:
    of_class = given.actual[:, None] == np.arange(given.scores.shape[1])
    hits = of_class & (given.decided == given.actual)[:, None]
    return np.concatenate([hits, of_class], axis=1).astype(np.float64)


def _mean_recall(sums: Floats) -> Floats:
    classes = sums.shape[-1] // 2
    recalls = _ratio(np.stack([sums[..., :classes], sums[..., classes:]], axis=-1))
    known = ~np.isnan(recalls)
    return _ratio(np.stack([np.where(known, recalls, 0.0).sum(axis=-1), known.sum(axis=-1)], axis=-1))


def _auc_terms(given: Answers) -> Floats:
    """Of positives and of negatives: the components, and ones; and for all rows what is counted twice."""
    from scipy.stats import rankdata

    positive, scores = given.actual == 1, given.scores[:, 1]
    ahead, behind = int(positive.sum()), int((~positive).sum())
    components = np.zeros(len(scores))
    if ahead and behind:
        ranks = rankdata(scores)
        components[positive] = (ranks[positive] - rankdata(scores[positive])) / behind
        components[~positive] = 1 - (ranks[~positive] - rankdata(scores[~positive])) / ahead
    auc = components[positive].mean() if ahead else 0.0
    ones = np.ones(len(scores))
    return np.column_stack([components * positive, positive, components * ~positive, ~positive, auc * ones, ones])


def _auc(sums: Floats) -> Floats:
    halves = _ratio(sums[..., 0:2]) + _ratio(sums[..., 2:4]) - _ratio(sums[..., 4:6])
    return np.clip(halves, 0.0, 1.0)


def calibration_bins(said: Floats) -> NDArray[np.int64]:
    """The bin of each probability."""
    return np.clip((said * BINS).astype(np.int64), 0, BINS - 1)


def calibration_terms(given: Answers) -> Floats:
    """In the column of each row's bin what was said beyond what happened; and ones."""
    said, happened = given.confidence
    terms = np.zeros((len(said), BINS + 1))
    terms[np.arange(len(said)), calibration_bins(said)] = said - happened
    terms[:, BINS] = 1.0
    return terms


def calibration_error(sums: Floats) -> Floats:
    """The expected calibration error of sums of `calibration_terms`."""
    return _ratio(np.stack([np.abs(sums[..., :BINS]).sum(axis=-1), sums[..., BINS]], axis=-1))


def _found(given: Answers) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return given.actual == 1, given.decided == 1


def _precision(given: Answers) -> Floats:
    actual, decided = _found(given)
    return np.column_stack([actual & decided, decided]).astype(np.float64)


def _recall(given: Answers) -> Floats:
    actual, decided = _found(given)
    return np.column_stack([actual & decided, actual]).astype(np.float64)


def _root(sums: Floats) -> Floats:
    root: Floats = np.sqrt(_ratio(sums))
    return root


METRICS = (
    Metric("log_loss", "classes", False, _mean(_log_loss), _ratio),
    Metric("accuracy", "classes", True, _mean(lambda given: given.decided == given.actual), _ratio),
    Metric("balanced_accuracy", "classes", True, _hits_by_class, _mean_recall),
    Metric("brier", "classes", False, _mean(_brier), _ratio),
    Metric("auc", "two classes", True, _auc_terms, _auc),
    Metric("precision", "two classes", True, _precision, _ratio),
    Metric("recall", "two classes", True, _recall, _ratio),
    Metric("calibration_error", "classes", False, calibration_terms, calibration_error),
    Metric("mae", "numbers", False, _mean(lambda given: np.abs(given.scores[:, 0] - given.actual)), _ratio),
    Metric("rmse", "numbers", False, _mean(lambda given: (given.scores[:, 0] - given.actual) ** 2), _root),
)
"""Log-loss is natural; precision and recall are of the second class where it has the higher probability; the Brier
score of two classes is that of the second one, and of more the sum over all. MAE and RMSE have the label's unit."""
