"""How good predictions were, in constant memory and exactly mergeable: classes, and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.drift import exact_sum
from tidemill.processors.drift.number_sketch import NumberSketch
from tidemill.processors.drift.quality_kernel import CALIBRATION_BINS, SCORE_BINS, score_classes, sum_by_bin
from tidemill.processors.drift.sum_kernel import CHUNKS, add_all

if TYPE_CHECKING:
    from tidemill.processors.online_inference.target import Target

_LARGEST_ERROR = 1e150
"""Errors beyond it, whose squares no double holds, count as infinite."""


@dataclass(frozen=True, eq=False)
class ClassQuality:
    """Predicted probabilities against what happened.

    With two classes a row's score is the second one's probability, and it hits when that is what happened. With more
    it is the greatest probability, and it hits when its class is what happened. The sums are exact (`exact_sum`), so
    merging is associative and commutative, bit for bit.

    >>> made = ClassQuality.of(np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]]), np.array([0, 1, 1]))
    >>> {name: round(value, 3) for name, value in made.metrics().items()}
    {'log_loss': 0.511, 'brier': 0.18, 'accuracy': 0.667, 'calibration_error': 0.333, 'auc': 1.0}
    """

    rows: int
    log_loss_total: int
    brier_total: int
    score_totals: tuple[int, ...]
    """The exact sum of the scores by calibration bin: 20 of equal width."""
    histogram: NDArray[np.int64]
    """Rows by score, in 1,000 bins of equal width, and by whether they hit: [bin, 0 or 1]."""
    confusion: NDArray[np.int64]
    """Rows by what happened and by the class of the greatest probability: [happened, said]."""

    @staticmethod
    def empty(classes: int) -> "ClassQuality":
        """Of nothing."""
        nothing = np.zeros((SCORE_BINS, 2), np.int64)
        return ClassQuality(0, 0, 0, (0,) * CALIBRATION_BINS, nothing, np.zeros((classes, classes), np.int64))

    @staticmethod
    def of(scores: NDArray[np.float64], actual: NDArray[np.int64]) -> "ClassQuality":
        """Of a row of probabilities for each event, and the place of the class that happened.

        Rows with a negative place, or a score that is not finite, are left out.
        """
        scores = np.ascontiguousarray(scores, np.float64)
        rows = np.flatnonzero((actual >= 0) & np.isfinite(scores).all(axis=1))
        classes = scores.shape[1]
        terms, bins = np.zeros((3, len(rows))), np.zeros(len(rows), np.int64)
        histogram, confusion = np.zeros((SCORE_BINS, 2), np.int64), np.zeros((classes, classes), np.int64)
        score_classes(scores, np.ascontiguousarray(actual, np.int64), rows, terms, histogram, confusion, bins)
        bits, by_bin = terms.view(np.int64), np.zeros((CALIBRATION_BINS, CHUNKS), np.int64)
        sum_by_bin(bits[2], bins, by_bin)
        totals = tuple(exact_sum.of_chunks(chunks) for chunks in by_bin)
        return ClassQuality(len(rows), _exact(terms[0]), _exact(terms[1]), totals, histogram, confusion)

    def merge(self, other: "ClassQuality") -> "ClassQuality":
        """Of both together."""
        return ClassQuality(
            self.rows + other.rows,
            self.log_loss_total + other.log_loss_total,
            self.brier_total + other.brier_total,
            tuple(a + b for a, b in zip(self.score_totals, other.score_totals, strict=True)),
            self.histogram + other.histogram,
            self.confusion + other.confusion,
        )

    def metrics(self) -> dict[str, float]:
        """log_loss, brier, accuracy, calibration_error, and auc with two classes that both happened; none of no rows.

        The log-loss takes the natural logarithm and no probability below 1e-15; the Brier score of two classes is the
        mean square of the second one's error, that of more adds up over them. The calibration error is the mean
        distance between score and share of hits by bin, weighted by rows. The AUC takes scores of one bin for equal.
        """
        if not self.rows:
            return {}
        counts, scores, shares = self.calibration()
        used = counts > 0
        figures = {
            "log_loss": exact_sum.mean(self.log_loss_total, self.rows),
            "brier": exact_sum.mean(self.brier_total, self.rows),
            "accuracy": float(np.trace(self.confusion) / self.rows),
            "calibration_error": float(np.abs(scores - shares)[used] @ counts[used] / self.rows),
        }
        if len(self.confusion) == 2 and self.histogram.sum(axis=0).all():
            figures["auc"] = area_under_curve(self.histogram[:, 0], self.histogram[:, 1])
        return figures

    def calibration(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """By calibration bin: rows, their mean score, and the share that hit; NaN where a bin is empty."""
        binned = self.histogram.reshape(CALIBRATION_BINS, -1, 2).sum(axis=1)
        counts = binned.sum(axis=1)
        pairs = zip(self.score_totals, counts.tolist(), strict=True)
        scores = np.array([exact_sum.mean(total, count) for total, count in pairs])
        shares = np.divide(binned[:, 1], counts, out=np.full(CALIBRATION_BINS, np.nan), where=counts > 0)
        return counts, scores, shares


@dataclass(frozen=True, eq=False)
class RegressionQuality:
    """Predicted numbers against what happened; an error is the prediction less what happened.

    >>> made = RegressionQuality.of(np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 2.0]))
    >>> {name: round(value, 2) for name, value in made.metrics().items()}
    {'mae': 1.0, 'rmse': 1.29, 'bias': 0.33, 'error_p05': -1.0, 'error_p50': 0.0, 'error_p95': 0.0}
    """

    absolute_total: int
    squared_total: int
    errors: NumberSketch

    @staticmethod
    def empty() -> "RegressionQuality":
        """Of nothing."""
        return RegressionQuality(0, 0, NumberSketch.empty())

    @staticmethod
    def of(predicted: NDArray[np.float64], actual: NDArray[np.float64]) -> "RegressionQuality":
        """Of predictions and what happened; rows where one of them is missing are left out."""
        errors = np.asarray(predicted, np.float64) - np.asarray(actual, np.float64)
        errors = np.where(np.abs(errors) > _LARGEST_ERROR, np.inf, errors[:])
        finite = errors[np.isfinite(errors)]
        return RegressionQuality(_exact(np.abs(finite)), _exact(finite**2), NumberSketch.of(errors))

    @property
    def rows(self) -> int:
        """How many predictions were compared."""
        return self.errors.count

    def merge(self, other: "RegressionQuality") -> "RegressionQuality":
        """Of both together."""
        return RegressionQuality(
            self.absolute_total + other.absolute_total,
            self.squared_total + other.squared_total,
            self.errors.merge(other.errors),
        )

    def metrics(self) -> dict[str, float]:
        """Mean absolute error, root of the mean square, mean error, and quantiles of the errors; none of no rows."""
        if not self.rows:
            return {}
        quantiles = {f"error_p{share:02}": self.errors.quantile(share / 100) for share in (5, 50, 95)}
        return {
            "mae": exact_sum.mean(self.absolute_total, self.rows),
            "rmse": exact_sum.mean(self.squared_total, self.rows) ** 0.5,
            "bias": self.errors.mean,
            **quantiles,
        }


Quality = ClassQuality | RegressionQuality


def quality_of(target: "Target", predictions: pa.Table, labels: pa.ChunkedArray | pa.Array) -> Quality:
    """The quality of predictions, in the columns of P.predictions, whose labels stand in the same rows.

    Rows whose label is null, or none of the declared classes, are left out.
    """
    if not target.classes:
        actual = pc.cast(labels, pa.float64(), safe=False)
        return RegressionQuality.of(_doubles(predictions["value"]), _doubles(actual))
    scores = np.column_stack([_doubles(predictions[name]) for name in target.columns()])
    return ClassQuality.of(scores, class_places(target.classes, labels))


def class_places(classes: Sequence[Any], labels: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    """Each label's place among the classes; -1 for null and for one that is not there."""
    known = pa.array(classes)
    places = pc.fill_null(pc.index_in(pc.cast(labels, known.type), known), -1)
    found: NDArray[np.int64] = places.to_numpy().astype(np.int64)
    return found


def area_under_curve(misses: NDArray[Any], hits: NDArray[Any]) -> float:
    """The share of pairs of a hit and a miss where the hit stands in the higher bin; half of those in the same one."""
    below = np.cumsum(misses) - misses
    pairs = float(hits.sum()) * float(misses.sum())
    return float((hits * (below + misses / 2)).sum() / pairs)


def _exact(values: NDArray[np.float64]) -> int:
    chunks = np.zeros(CHUNKS, np.int64)
    add_all(chunks, np.ascontiguousarray(values).view(np.int64))
    return exact_sum.of_chunks(chunks)


def _doubles(column: pa.ChunkedArray | pa.Array) -> NDArray[np.float64]:
    values: NDArray[np.float64] = (
        column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else (column.to_numpy())
    )
    return values
