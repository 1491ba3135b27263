"""Means with confidence that holds at every look, from sums that can be merged."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared deviations of numbers; merged as by Chan, Golub and LeVeque (1983).

    >>> whole, parts = Moments.of(np.array([1.0, 2.0, 4.0])), Moments.of(np.array([1.0]))
    >>> merged = parts.merged(Moments.of(np.array([2.0, 4.0])))
    >>> merged.count, round(merged.mean, 6), round(merged.squares - whole.squares, 9) == 0
    (3, 2.333333, True)
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @staticmethod
    def of(values: NDArray[np.float64]) -> "Moments":
        """Of these numbers."""
        if not len(values):
            return Moments()
        mean = float(values.mean())
        return Moments(len(values), mean, float(((values - mean) ** 2).sum()))

    def merged(self, other: "Moments") -> "Moments":
        """Of both together."""
        if not self.count or not other.count:
            return self if self.count else other
        count, step = self.count + other.count, other.mean - self.mean
        mean = self.mean + step * other.count / count
        return Moments(count, mean, self.squares + other.squares + step**2 * self.count * other.count / count)


def interval(moments: Moments, alpha: float, least: int, unseen: float = 0.0) -> tuple[float, float]:
    """Bounds of the mean that hold at all looks from `least` numbers on, together, with an error of `alpha`.

    An asymptotic confidence sequence (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas: Time-uniform central limit
    theory and asymptotic confidence sequences, Annals of Statistics 2024, theorem 2.2), narrowest at `least` numbers.
    Half of the error lies on each side. `unseen` is the size of a number that may not have shown yet: the variance is
    reckoned as if one had.

    >>> interval(Moments.of(np.zeros(10)), 0.05, 30)
    (-inf, inf)
    """
    n = moments.count
    if n < least or n < 2:
        return -math.inf, math.inf
    spread = math.sqrt((moments.squares + unseen**2) / (n - 1))
    wanted = -2 * math.log(alpha)
    rho = (wanted + math.log(wanted) + 1) / least
    grown = n * rho + 1
    width = spread * math.sqrt(2 * grown / (n * n * rho) * math.log(math.sqrt(grown) / alpha))
    return moments.mean - width, moments.mean + width


def more_often(count: int, total: int, share: float, alpha: float) -> bool:
    """Whether something that came `count` times of `total` comes with more than this share, at every look together.

    The likelihood ratio against `share`, averaged over all greater shares, is a supermartingale where the share is no
    greater: it reaches 1/alpha with a probability of at most alpha (Ville 1939).

    >>> more_often(3, 3, 0.01, 0.05), more_often(3, 300, 0.01, 0.05), more_often(30, 300, 0.01, 0.05)
    (True, False, True)
    """
    from scipy.special import betainc, betaln

    if not count:
        return False
    a, b = count + 1, total - count + 1
    tail = 1.0 - float(betainc(a, b, share))
    if tail <= 0.0:
        return False
    ratio = float(betaln(a, b)) + math.log(tail) - math.log1p(-share)
    return ratio - count * math.log(share) - (total - count) * math.log1p(-share) >= -math.log(alpha)
