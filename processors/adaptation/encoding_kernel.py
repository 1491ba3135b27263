"""The compiled loops of the encoder; `encoding` says what they mean."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


@njit(cache=True, nogil=True)
def _shown(counts: _Floats, shares: _Floats, code: int, weight: float, first: int, out: _Floats) -> None:
    total, rows = shares.sum(), 0.0
    if code >= 0:
        rows = counts[code].sum()
    for k in range(len(out)):
        share = shares[first + k] / total if total > 0 else 1.0 / len(shares)
        own = counts[code, first + k] if code >= 0 else 0.0
        out[k] = (own + weight * share) / (rows + weight)


@njit(cache=True, nogil=True)
def show(codes: _Integers, counts: _Floats, shares: _Floats, weight: float, first: int, out: _Floats) -> None:
    """What each row's category says now: a smoothed share of each class from `first` on; -1 is no known category."""
    for i in range(len(codes)):
        _shown(counts, shares, codes[i], weight, first, out[i])


@njit(cache=True, nogil=True)
def learn(
    codes: _Integers,
    labels: _Integers,
    counts: _Floats,
    shares: _Floats,
    weight: float,
    keep: float,
    first: int,
    out: _Floats,
) -> None:
    """In their order: show each row before its label is counted; older ones of its category then count less."""
    for i in range(len(codes)):
        code, label = codes[i], labels[i]
        _shown(counts, shares, code, weight, first, out[i])
        shares *= keep
        shares[label] += 1.0
        if code >= 0:
            counts[code] *= keep
            counts[code, label] += 1.0
