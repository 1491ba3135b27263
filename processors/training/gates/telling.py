"""How well one feature alone tells the label, and how differently it is distributed in two tables."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_BINS = 32
_LEAST_OF_CLASS = 10
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Bins:
    """Where values of a feature fall: numbers by quantiles, text by value; missing ones have the last place."""

    edges: NDArray[np.float64] | None
    values: pa.Array | None
    count: int

    @staticmethod
    def of(*columns: pa.ChunkedArray) -> "Bins":
        """Bins for the values of all these columns together."""
        if _is_text(columns[0].type):
            known = pc.unique(pa.chunked_array([c for column in columns for c in _text(column).chunks])).drop_null()
            return Bins(None, known, len(known) + 1)
        numbers = np.concatenate([_numbers(column) for column in columns])
        numbers = numbers[np.isfinite(numbers)]
        distinct = np.unique(numbers)
        if len(distinct) <= _BINS:
            edges = (distinct[1:] + distinct[:-1]) / 2
        else:
            edges = np.unique(np.quantile(numbers, np.linspace(0, 1, _BINS + 1)[1:-1]))
        return Bins(edges, None, len(edges) + 2)

    def places(self, column: pa.ChunkedArray) -> Places:
        """The bin of each value."""
        if self.values is not None:
            found = pc.index_in(_text(column), value_set=self.values)
            placed: Places = pc.fill_null(found, self.count - 1).to_numpy().astype(np.int64)
            return placed
        assert self.edges is not None
        numbers = _numbers(column)
        binned: Places = np.where(np.isnan(numbers), self.count - 1, np.searchsorted(self.edges, numbers, side="right"))
        return binned


def telling(places: Places, labels: NDArray[Any], *, classes: bool) -> float:
    """How well bins order the labels, as AUC: 0.5 is not at all, 1 is perfectly.

    Each half of the rows, every second one, is judged by what the other half's bins hold, so that a bin of one row
    tells nothing. Of several classes the best told one counts. For numbers it is the rank correlation, from -1 to 1
    brought to 0 to 1.

    >>> telling(np.array([0, 0, 1, 1] * 25), np.array([False, False, True, True] * 25), classes=True)
    1.0
    """
    from scipy.stats import rankdata

    if not classes:
        said = _out_of_half(places, np.asarray(labels, np.float64))
        ranks = rankdata(said), rankdata(labels)
        if min(np.ptp(ranks[0]), np.ptp(ranks[1])) == 0:
            return 0.5
        return float((1 + np.corrcoef(*ranks)[0, 1]) / 2)
    found = [0.5]
    for label in np.unique(labels):
        of_class = labels == label
        if _LEAST_OF_CLASS <= np.count_nonzero(of_class) <= len(labels) - _LEAST_OF_CLASS:
            found.append(auc(_out_of_half(places, of_class.astype(np.float64)), of_class))
    return max(found)


def auc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """The area under the ROC curve; ties count half."""
    from scipy.stats import rankdata

    many, few = np.count_nonzero(positive), np.count_nonzero(~positive)
    return float((rankdata(scores)[positive].sum() - many * (many + 1) / 2) / (many * few))


def _out_of_half(places: Places, labels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each row's bin's mean label in the other half of the rows, drawn a little towards the mean of all."""
    said, half = np.empty(len(labels)), np.arange(len(labels)) % 2 == 0
    width = int(places.max()) + 1 if len(places) else 1
    for mine, other in ((half, ~half), (~half, half)):
        mean = labels[other].mean() if other.any() else 0.0
        counts = np.bincount(places[other], minlength=width)
        sums = np.bincount(places[other], labels[other], minlength=width)
        said[mine] = ((sums + mean) / (counts + 1))[places[mine]]
    return said


@dataclass(frozen=True)
class Shift:
    """How a feature's distribution differs between two tables.

    `distance` is the share of rows that would have to change their bin (total variation), `missing` by how much the
    share of missing values is higher in the second one; `p_value` is how likely chance gives such a difference.
    """

    distance: float
    missing: float
    p_value: float


def shift(then: Places, now: Places, bins: Bins) -> Shift:
    """Compare where the values of two tables fall."""
    from scipy.stats import chi2_contingency

    counts = np.stack([np.bincount(places, minlength=bins.count) for places in (then, now)])
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    distance, missing = float(np.abs(shares[0] - shares[1]).sum() / 2), float(shares[1, -1] - shares[0, -1])
    used = counts[:, counts.sum(axis=0) > 0]
    if used.shape[1] < 2 or not len(then) or not len(now):
        return Shift(distance, missing, 1.0)
    return Shift(distance, missing, float(chi2_contingency(used, correction=False).pvalue))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind))


def _text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.cast(column, pa.large_string())


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    numbers: NDArray[np.float64] = pc.cast(column, pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return numbers
