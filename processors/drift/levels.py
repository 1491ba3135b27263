"""Grids of levels and changes, on which a detector sums what it does not know.

A family says how likely a block of rows is at a level: errors are Bernoulli; losses have a standard deviation in
proportion to their mean, with the quasi-likelihood of the gamma family (McCullagh and Nelder, Generalized Linear
Models, 1989, chapters 8 and 9), which needs only the rows and their sum.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]

_STEP = 0.05
_LOGIT_RANGE = (-6.9, 6.9)
_HIGHEST_RATE = 0.95
_LOG_RANGE = 2.8


@dataclass(frozen=True)
class Levels:
    """A grid: per level, and per change of it, what a block's log density is made of, with prior and weights.

    `slopes` and `offsets` have a row for the baseline, then one per change: the log density of (total, rows) is
    total * slope + rows * offset. `weights` has a row per change; it is 0 where a change would leave the grid.
    """

    means: _Floats
    slopes: _Floats
    offsets: _Floats
    weights: _Floats
    prior: _Floats


def error_levels(ratios: Sequence[float], weights: Sequence[float]) -> Levels:
    """Error rates from .001 to .999; a change multiplies the odds. The prior is Jeffreys' (arcsine)."""
    logits = np.arange(_LOGIT_RANGE[0], _LOGIT_RANGE[1], _STEP)
    changed = np.vstack([logits, *(logits + np.log(ratio) for ratio in ratios)])
    rates = 1 / (1 + np.exp(-changed))
    # A rate can be as good as 0 or as bad as 1 for ever; that is no change.
    inside = (changed[1:] >= logits[0]) & (rates[1:] <= _HIGHEST_RATE)
    prior = np.sqrt(rates[0] * (1 - rates[0]))
    return Levels(
        rates[0],
        changed,
        -np.logaddexp(0, changed),
        np.ascontiguousarray(inside * np.asarray(weights)[:, None]),
        prior / prior.sum(),
    )


def loss_levels(centre: float, ratios: Sequence[float], weights: Sequence[float]) -> Levels:
    """Mean losses from a sixteenth to sixteen times the centre; a change multiplies the mean. The prior is flat."""
    logs = np.log(centre) + np.arange(-_LOG_RANGE, _LOG_RANGE, _STEP)
    changed = np.vstack([logs, *(logs + np.log(ratio) for ratio in ratios)])
    inside = (changed[1:] >= logs[0]) & (changed[1:] <= logs[-1])
    return Levels(
        np.exp(logs),
        -np.exp(-changed),
        -changed,
        np.ascontiguousarray(inside * np.asarray(weights)[:, None]),
        np.full(len(logs), 1 / len(logs)),
    )
