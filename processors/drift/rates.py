"""Shares that are compared: of missing values, of rejected events."""

import math
from dataclasses import dataclass

import numpy as np

from tidemill.processors.drift.distances import Comparison

THRESHOLD = 0.2
"""The effect from which on a difference counts: Cohen's "small", such as from none to 1 %, or from 10 % to 17 %."""

LEAST_EXPECTED = 10
"""Where fewer hits (or misses) of the smaller sample are expected than this, the normal distribution does not hold."""


@dataclass(frozen=True)
class Rate:
    """So many out of so many."""

    hits: int
    rows: int

    @property
    def share(self) -> float:
        """The rate itself; 0 of none."""
        return self.hits / self.rows if self.rows else 0.0


def compare_rates(reference: Rate, now: Rate) -> Comparison:
    """The pooled two-proportion z-test, and Cohen's h as the effect: positive where the rate has risen.

    Where too few hits (or misses) are expected for the normal distribution to hold, the p-value is that of Fisher's
    exact test.

    h is the difference of 2·asin(√share), in which a step means the same near 0 and near 1/2 (Cohen, 1988).

    >>> compare_rates(Rate(0, 1_000), Rate(50, 1_000)).effect > THRESHOLD
    True
    """
    from scipy import special

    if not reference.rows or not now.rows:
        return Comparison(0.0, None, 0.0)
    effect = 2 * math.asin(math.sqrt(now.share)) - 2 * math.asin(math.sqrt(reference.share))
    pooled = (reference.hits + now.hits) / (reference.rows + now.rows)
    error = math.sqrt(pooled * (1 - pooled) * (1 / reference.rows + 1 / now.rows))
    z = (now.share - reference.share) / error if error else 0.0
    expected = min(pooled, 1 - pooled) * min(reference.rows, now.rows)
    p_value = float(2 * special.ndtr(-abs(z))) if expected >= LEAST_EXPECTED else _fisher(reference, now)
    return Comparison(z, p_value, effect)


def _fisher(reference: Rate, now: Rate) -> float:
    """The probability of a table no likelier than this one, of all with the same sums."""
    from scipy import special

    hits = reference.hits + now.hits
    possible = np.arange(max(0, hits - reference.rows), min(hits, now.rows) + 1, dtype=np.float64)
    logarithms = -(
        special.betaln(possible + 1, now.rows - possible + 1)
        + special.betaln(hits - possible + 1, reference.rows - hits + possible + 1)
    )
    likely = special.softmax(logarithms)
    seen = likely[now.hits - int(possible[0])]
    return min(float(likely[likely <= seen * (1 + 1e-7)].sum()), 1.0)
