"""Many tests at once: p-values that keep the share of false alarms among all alarms (Benjamini and Hochberg, 1995)."""

from collections.abc import Sequence

import numpy as np


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """The p-values adjusted for their number, in the order given.

    Whoever takes those below a rate for discoveries expects at most that rate of them to be false, if the tests are
    independent or depend on each other positively.

    >>> benjamini_hochberg([0.01, 0.6, 0.02])
    [0.03, 0.6, 0.03]
    """
    if not len(p_values):
        return []
    order = np.argsort(p_values, kind="stable")[::-1]
    ranks = np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum.accumulate(np.minimum(np.asarray(p_values)[order] * len(order) / ranks, 1.0))
    result: list[float] = adjusted.tolist()
    return result
