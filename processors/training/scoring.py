"""One figure for how good scores are: what a search of candidates looks for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.online_inference.target import Target
from tidemill.schemas.errors import DeclarationError, ModelError, nearest

Scores = NDArray[np.float64]
_LEAST = 1e-15


@dataclass(frozen=True)
class Metric:
    """A figure by name. `greater` says whether more is better, `classes` whether it is one of classes."""

    name: str
    greater: bool
    classes: bool
    figure: Callable[[Target, NDArray[Any], Scores], float]

    def better(self, one: float, other: float) -> bool:
        """Whether `one` is better than `other`."""
        return one > other if self.greater else one < other


def metric_of(name: str | None, target: Target) -> Metric:
    """The metric by name; by default log-loss of classes and the mean absolute error of numbers.

    >>> metric_of(None, Target((False, True))).name, metric_of(None, Target()).name
    ('log_loss', 'mae')

    Raises:
        DeclarationError: there is none of the name, or it is not for what the pipeline predicts.

    """
    known = [metric.name for metric in METRICS.values() if metric.classes == bool(target.classes)]
    if name is None:
        return METRICS["log_loss" if target.classes else "mae"]
    if name not in known:
        kind = "classes" if target.classes else "a number"
        raise DeclarationError(f"metric {name!r} is none for a model that predicts {kind}{nearest(name, known)}")
    if name == "auc" and len(target.classes) != 2:
        raise DeclarationError(f"metric 'auc' is for two classes, and there are {len(target.classes)}")
    return METRICS[name]


def codes(target: Target, labels: NDArray[Any]) -> NDArray[np.int64]:
    """The place of each label among the classes; raises ModelError for one that is not declared."""
    places = {label: place for place, label in enumerate(target.classes)}
    unknown = sorted(set(labels.tolist()) - set(places), key=repr)
    if unknown:
        raise ModelError(f"there are labels that the pipeline does not declare: {unknown}; declare their classes")
    return np.array([places[label] for label in labels.tolist()], dtype=np.int64)


def _log_loss(target: Target, labels: NDArray[Any], scores: Scores) -> float:
    from sklearn.metrics import log_loss

    clipped = np.clip(scores, _LEAST, 1.0)
    proper = clipped / clipped.sum(axis=1, keepdims=True)
    return float(log_loss(codes(target, labels), proper, labels=list(range(len(target.classes)))))


def _brier(target: Target, labels: NDArray[Any], scores: Scores) -> float:
    happened = np.eye(len(target.classes))[codes(target, labels)]
    return float(np.mean(((scores - happened) ** 2).sum(axis=1)))


def _accuracy(target: Target, labels: NDArray[Any], scores: Scores) -> float:
    return float(np.mean(scores.argmax(axis=1) == codes(target, labels)))


def _auc(target: Target, labels: NDArray[Any], scores: Scores) -> float:
    from sklearn.metrics import roc_auc_score

    places = codes(target, labels)
    # Of one class alone there is no order to get right.
    return float(roc_auc_score(places, scores[:, 1])) if len(np.unique(places)) == 2 else 0.5


def _mae(target: Target, labels: NDArray[Any], scores: Scores) -> float:  # noqa: ARG001 - all figures are called alike
    return float(np.mean(np.abs(scores[:, 0] - labels.astype(float))))


def _rmse(target: Target, labels: NDArray[Any], scores: Scores) -> float:  # noqa: ARG001
    return float(np.mean((scores[:, 0] - labels.astype(float)) ** 2) ** 0.5)


METRICS = {
    metric.name: metric
    for metric in (
        Metric("log_loss", greater=False, classes=True, figure=_log_loss),
        Metric("brier", greater=False, classes=True, figure=_brier),
        Metric("accuracy", greater=True, classes=True, figure=_accuracy),
        Metric("auc", greater=True, classes=True, figure=_auc),
        Metric("mae", greater=False, classes=False, figure=_mae),
        Metric("rmse", greater=False, classes=False, figure=_rmse),
    )
}
"""log_loss: natural logarithm. brier: the squared distance from what happened, summed over the classes (Brier 1950),
from 0 to 2. accuracy and auc: shares. mae and rmse: in the label's unit."""
