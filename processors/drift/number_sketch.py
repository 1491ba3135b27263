"""What a column of numbers looked like, in constant memory: a DDSketch, and exact count, sum and range."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.drift import exact_sum
from tidemill.processors.drift.buckets import NONE, Buckets, values_of
from tidemill.processors.drift.number_kernel import (
    COUNT,
    INFINITE,
    MISSING,
    NEGATIVE_HIGH,
    NEGATIVE_LOW,
    OFFSET,
    POSITIVE_HIGH,
    POSITIVE_LOW,
    SMALLEST,
    ZEROS,
    key_of,
    scan,
    tally,
)
from tidemill.processors.drift.sum_kernel import CHUNKS


@dataclass(frozen=True, eq=False)
class NumberSketch:
    """A mergeable summary of numbers with quantiles of 1 % relative error: DDSketch (Masson, Rim, Lee, VLDB 2019).

    `count` numbers, of which `zeros` are 0 (or subnormal) and the others stand in `negative` (by magnitude) and
    `positive` buckets. Nulls and NaN are `missing`; infinities, and what is 1e300 and more, are `infinite`: neither
    is in `count`, in the range or in the sum. `total` is the exact sum (`exact_sum`).

    Merging is associative and commutative, bit for bit: how the values were cut and ordered does not matter. A side
    keeps the 2,048 buckets of the largest magnitudes, a factor of 10**17 where all are used; lesser ones are
    collapsed.

    >>> morning, evening = NumberSketch.of(np.array([1.0, 2.0, np.nan])), NumberSketch.of(np.array([-4.0, 9.0]))
    >>> day = morning.merge(evening)
    >>> day.count, day.missing, day.sum, day.minimum, day.maximum, round(day.quantile(0.5), 1)
    (4, 1, 8.0, -4.0, 9.0, 1.0)
    """

    count: int
    missing: int
    infinite: int
    minimum: float
    """Infinity where there is no number; so is `maximum`, negated."""
    maximum: float
    total: int
    zeros: int
    negative: Buckets
    positive: Buckets

    @staticmethod
    def empty() -> "NumberSketch":
        """Of nothing: merging it changes nothing."""
        return NumberSketch(0, 0, 0, np.inf, -np.inf, 0, 0, NONE, NONE)

    @staticmethod
    def of(column: pa.ChunkedArray | pa.Array | NDArray[Any]) -> "NumberSketch":
        """Of a column of numbers; integers beyond 2**53 are rounded."""
        values = _as_doubles(column)
        codes = np.empty(len(values), np.int32)
        registers, extremes, chunks = np.zeros(8, np.int64), np.zeros(2), np.zeros(CHUNKS, np.int64)
        scan(values, values.view(np.int64), codes, registers, extremes, chunks)
        found = registers.tolist()
        negative = np.zeros(max(found[NEGATIVE_HIGH] - found[NEGATIVE_LOW] + 1, 0), np.int64)
        positive = np.zeros(max(found[POSITIVE_HIGH] - found[POSITIVE_LOW] + 1, 0), np.int64)
        tally(codes, registers, negative, positive)
        return NumberSketch(
            found[COUNT],
            found[MISSING],
            found[INFINITE],
            # There are two zeros, and which of them is the least would depend on the order.
            float(extremes[0]) + 0.0,
            float(extremes[1]) + 0.0,
            exact_sum.of_chunks(chunks),
            found[ZEROS],
            Buckets.of_dense(negative, found[NEGATIVE_LOW]),
            Buckets.of_dense(positive, found[POSITIVE_LOW]),
        )

    def merge(self, other: "NumberSketch") -> "NumberSketch":
        """Of both columns together."""
        return NumberSketch(
            self.count + other.count,
            self.missing + other.missing,
            self.infinite + other.infinite,
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.total + other.total,
            self.zeros + other.zeros,
            self.negative.merge(other.negative),
            self.positive.merge(other.positive),
        )

    @property
    def rows(self) -> int:
        """How many values the column had, missing and infinite ones included."""
        return self.count + self.missing + self.infinite

    @property
    def sum(self) -> float:
        """The sum, correctly rounded."""
        return next(iter(exact_sum.expansion(self.total)), 0.0)

    @property
    def mean(self) -> float:
        """The mean, correctly rounded; NaN where there is no number."""
        return exact_sum.mean(self.total, self.count)

    @property
    def missing_rate(self) -> float:
        """The share of missing values; NaN where there are no rows."""
        return self.missing / self.rows if self.rows else float("nan")

    def quantile(self, q: float) -> float:
        """The number that a share `q` of the numbers lies below, within 1 %; NaN where there is no number.

        It is an estimate of the number of rank floor(q * (count - 1)), the smallest having rank 0.
        """
        if not 0 <= q <= 1:
            raise ValueError(f"expected a share from 0 to 1, got {q}")
        if not self.count:
            return float("nan")
        _, values, counts = self.points()
        place = int(np.searchsorted(np.cumsum(counts), np.floor(q * (self.count - 1)), side="right"))
        return float(values[place])

    def cdf(self, value: float) -> float:
        """The share of numbers up to `value`, those in its own bucket included; NaN where there is no number."""
        if not self.count:
            return float("nan")
        codes, _, counts = self.points()
        return float(counts[codes <= code_of(value)].sum() / self.count)

    def points(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
        """All buckets in the order of their values: codes that rise with them, the values they stand for, and counts.

        The same code means the same bucket in every sketch.
        """
        low, high = self.negative, self.positive
        zeros = np.array([self.zeros] if self.zeros else [], np.int64)
        codes = np.concatenate([-(low.keys + OFFSET)[::-1], zeros * 0, high.keys + OFFSET])
        values = np.concatenate([-values_of(low.keys)[::-1], zeros * 0.0, values_of(high.keys)])
        counts = np.concatenate([low.counts[::-1], zeros, high.counts])
        return codes, np.clip(values, self.minimum, self.maximum), counts


def code_of(value: float) -> int:
    """The code of the bucket that a number falls into, as `NumberSketch.points` gives them."""
    if abs(value) < SMALLEST:
        return 0
    if np.isinf(value):
        return 2 * OFFSET if value > 0 else -2 * OFFSET
    key = int(key_of(int(np.float64(value).view(np.int64)))) + OFFSET
    return key if value > 0 else -key


def _as_doubles(column: pa.ChunkedArray | pa.Array | NDArray[Any]) -> NDArray[np.float64]:
    if isinstance(column, np.ndarray):
        return np.ascontiguousarray(column, np.float64)
    if column.type != pa.float64():
        column = pc.cast(column, pa.float64(), safe=False)
    return np.ascontiguousarray(column.to_numpy(zero_copy_only=False))
