"""Bucket keys with their counts: sorted, merged, collapsed, and what values they stand for."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.drift.number_kernel import STEPS, A, B, C

MOST_BUCKETS = 2_048
_NEWTON_STEPS = 8


@dataclass(frozen=True, eq=False)
class Buckets:
    """Keys in rising order, each with a count above 0; arrays of equal length, at most `MOST_BUCKETS`.

    More are collapsed: what lies below the highest `MOST_BUCKETS` keys is counted in the lowest of those. Which keys
    these are depends on all keys that there were, not on the order in which they came.
    """

    keys: NDArray[np.int64]
    counts: NDArray[np.int64]

    @staticmethod
    def of(keys: NDArray[np.int64], counts: NDArray[np.int64]) -> "Buckets":
        """From sorted keys, collapsed where they are too many."""
        surplus = len(keys) - MOST_BUCKETS
        if surplus <= 0:
            return Buckets(keys, counts)
        kept = counts[surplus:].copy()
        kept[0] += counts[:surplus].sum()
        return Buckets(keys[surplus:].copy(), kept)

    @staticmethod
    def of_dense(dense: NDArray[np.int64], low: int) -> "Buckets":
        """From the counts of all keys from `low` on."""
        places = np.flatnonzero(dense)
        return Buckets.of(places + low, dense[places])

    def merge(self, other: "Buckets") -> "Buckets":
        """Both together."""
        if not len(other.keys):
            return self
        if not len(self.keys):
            return other
        # There are 72,000 keys at most, and columns use a few hundred that are close to each other.
        low, high = min(self.keys[0], other.keys[0]), max(self.keys[-1], other.keys[-1])
        dense = np.zeros(high - low + 1, np.int64)
        dense[self.keys - low] = self.counts
        dense[other.keys - low] += other.counts
        return Buckets.of_dense(dense, low)

    @property
    def total(self) -> int:
        """How many values there are in all of them."""
        return int(self.counts.sum())


NONE = Buckets(np.empty(0, np.int64), np.empty(0, np.int64))


def lower_bounds(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """The least value of each key's bucket; it ends before the least one of the next key."""
    logarithms = keys / STEPS
    exponents = np.floor(logarithms)
    wanted = logarithms - exponents
    fraction = wanted.copy()
    for _ in range(_NEWTON_STEPS):
        value = fraction * (C + fraction * (B + fraction * A))
        fraction -= (value - wanted) / (C + fraction * (2 * B + fraction * 3 * A))
    bounds: NDArray[np.float64] = np.ldexp(1.0 + fraction, exponents.astype(np.int64))
    return bounds


def values_of(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """The value that stands for each key: within the relative error of every value in its bucket."""
    low, high = lower_bounds(keys), lower_bounds(keys + 1)
    middle: NDArray[np.float64] = 2 * low * (high / (low + high))
    return middle
