"""How far two distributions are from each other, measured on their sketches: statistic, p-value and effect size.

A p-value says whether there is a difference, and with enough rows there always is; an effect size says how large it is,
and does not grow with the number of rows. An alarm needs both (`findings`).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.drift.bins import Sketch, shared_bins, shared_points
from tidemill.processors.drift.number_sketch import NumberSketch
from tidemill.schemas.errors import DeclarationError, nearest

LEAST_SHARE = 1e-4
"""What an empty bin is taken to hold by the population stability index, which has no value for none."""

LEAST_EXPECTED = 5
"""Bins that should hold fewer of the smaller sample than this are tested as one; effects are taken of all."""


@dataclass(frozen=True)
class Comparison:
    """What a distance found: `p_value` is None where there is nothing to test with."""

    statistic: float
    p_value: float | None
    effect: float


Compare = Callable[[Sketch, Sketch], Comparison]


@dataclass(frozen=True)
class Distance:
    """A way to compare a reference with what is now, and the effect from which on it counts."""

    name: str
    compare: Compare
    threshold: float
    categories: bool
    """Whether it compares categories too; all compare numbers."""


_NOTHING = Comparison(0.0, None, 0.0)


def psi(reference: Sketch, now: Sketch) -> Comparison:
    """Population stability index, in tenths of the reference or by category; its p-value is that of `chi_square`.

    Custom has it that up to 0.1 is no change and from 0.2 on is one (Siddiqi, "Credit Risk Scorecards", 2006).
    """
    then, later = shared_bins(reference, now)
    if not _comparable(then, later):
        return _NOTHING
    p, q = (np.maximum(_shares(counts), LEAST_SHARE) for counts in (then, later))
    index = float(((q - p) * np.log(q / p)).sum())
    return Comparison(index, _chi_square(then, later)[1], index)


def jensen_shannon(reference: Sketch, now: Sketch) -> Comparison:
    """Jensen-Shannon distance to the base of 2, from 0 to 1, in the same bins; its p-value is that of `chi_square`."""
    from scipy import special

    then, later = shared_bins(reference, now)
    if not _comparable(then, later):
        return _NOTHING
    p, q = _shares(then), _shares(later)
    middle = (p + q) / 2
    divergence = (special.rel_entr(p, middle).sum() + special.rel_entr(q, middle).sum()) / (2 * np.log(2))
    distance = float(np.sqrt(max(divergence, 0.0)))
    return Comparison(distance, _chi_square(then, later)[1], distance)


def chi_square(reference: Sketch, now: Sketch) -> Comparison:
    """Pearson's test of homogeneity, in the same bins. The effect is Cohen's w against the mean of both distributions.

    It goes from 0 to 2; 0.1 is small, 0.3 medium, 0.5 large (Cohen, 1988). Cramér's V would depend on how many more
    rows one side has than the other.
    """
    then, later = shared_bins(reference, now)
    if not _comparable(then, later):
        return _NOTHING
    p, q = _shares(then), _shares(later)
    effect = float(np.sqrt(((p - q) ** 2 / ((p + q) / 2)).sum()))
    return Comparison(*_chi_square(then, later), effect)


def ks(reference: Sketch, now: Sketch) -> Comparison:
    """Two-sample Kolmogorov-Smirnov: the greatest distance of the distribution functions, which is the effect as well.

    Seen at the edges of the sketches' buckets, so it may be too small by what the fullest bucket holds. The p-value
    is the asymptotic one with Stephens' correction (1970); ties make it larger than it had to be.
    """
    from scipy import special

    _, then, later = shared_points(*_numbers(reference, now))
    if not _comparable(then, later):
        return _NOTHING
    distance = float(np.abs(np.cumsum(then) / then.sum() - np.cumsum(later) / later.sum()).max())
    root = np.sqrt(then.sum() / (then.sum() + later.sum()) * later.sum())
    return Comparison(distance, float(special.kolmogorov((root + 0.12 + 0.11 / root) * distance)), distance)


def wasserstein(reference: Sketch, now: Sketch) -> Comparison:
    """First Wasserstein distance, in the column's unit; the effect is in standard deviations of the reference.

    Of a reference without any spread, in those of both together. The p-value is that of `ks`.
    """
    values, then, later = shared_points(*_numbers(reference, now))
    if not _comparable(then, later):
        return _NOTHING
    # Squares of the largest numbers are none.
    scale = float(np.abs(values).max()) or 1.0
    scaled, p, q = values / scale, _shares(then), _shares(later)
    distance = float((np.abs(np.cumsum(p) - np.cumsum(q))[:-1] * np.diff(scaled)).sum())
    spread = _deviation(scaled, p) or _deviation(scaled, (p + q) / 2)
    return Comparison(distance * scale, ks(reference, now).p_value, distance / spread if spread else 0.0)


DISTANCES = {
    distance.name: distance
    for distance in (
        Distance("psi", psi, 0.2, categories=True),
        Distance("jensen_shannon", jensen_shannon, 0.15, categories=True),
        Distance("chi_square", chi_square, 0.3, categories=True),
        Distance("ks", ks, 0.15, categories=False),
        Distance("wasserstein", wasserstein, 0.25, categories=False),
    )
}
"""The distances by name."""


def distance_named(name: str) -> Distance:
    """The distance of this name; raises DeclarationError that names the nearest one."""
    if name not in DISTANCES:
        raise DeclarationError(f"there is no distance {name!r}{nearest(name, DISTANCES)}")
    return DISTANCES[name]


def _numbers(reference: Sketch, now: Sketch) -> tuple[NumberSketch, NumberSketch]:
    if not (isinstance(reference, NumberSketch) and isinstance(now, NumberSketch)):
        raise DeclarationError("expected columns of numbers, got categories; compare them by chi_square")
    return reference, now


def _comparable(then: NDArray[np.int64], later: NDArray[np.int64]) -> bool:
    return bool(then.sum() and later.sum())


def _shares(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = counts / counts.sum()
    return shares


def _chi_square(then: NDArray[np.int64], later: NDArray[np.int64]) -> tuple[float, float]:
    """The statistic and its p-value; one bin alone has no difference."""
    from scipy import special

    then, later = _without_small(then, later)
    n, m = float(then.sum()), float(later.sum())
    difference = then / n - later / m
    statistic = float(n * m * (difference**2 / (then + later)).sum())
    return statistic, float(special.chdtrc(len(then) - 1, statistic)) if len(then) > 1 else 1.0


def _without_small(then: NDArray[np.int64], later: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The bins with those put together that are too small for the chi-square distribution to hold (Cochran, 1954)."""
    both = then + later
    smaller = min(then.sum(), later.sum()) / both.sum()
    order = np.argsort(-both, kind="stable")
    then, later, expected = then[order], later[order], both[order] * smaller
    kept = int((expected >= LEAST_EXPECTED).sum())
    if kept < len(expected) and expected[kept:].sum() < LEAST_EXPECTED:
        kept -= 1
    starts = np.arange(max(min(kept + 1, len(expected)), 1))
    return np.add.reduceat(then, starts), np.add.reduceat(later, starts)


def _deviation(values: NDArray[np.float64], shares: NDArray[np.float64]) -> float:
    mean = float(values @ shares)
    return float(np.sqrt(((values - mean) ** 2) @ shares))
