"""ADWIN (Bifet and Gavalda, SDM 2007) over outcomes of 0 and 1, in one array, for use inside compiled loops.

A window is a matrix: row 0 has its rows, its total and the count of updates; row 1 + k the number of buckets of 2^k
rows and then the total of each, the oldest first.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

BUCKETS = 5
LEVELS = 24
SHAPE = (LEVELS + 1, BUCKETS + 2)
_CLOCK = 32
_LEAST = 5.0

_Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def reset(window: _Floats) -> None:
    """Forget everything."""
    window[:] = 0.0


@njit(cache=True, nogil=True)
def level(window: _Floats) -> float:
    """The mean of what is in the window."""
    return float(window[0, 1] / window[0, 0]) if window[0, 0] > 0 else 0.0


@njit(cache=True, nogil=True)
def add(window: _Floats, value: float, confidence: float) -> bool:
    """Take one outcome; whether older ones were dropped because the newer differ."""
    window[0, 0] += 1
    window[0, 1] += value
    window[0, 2] += 1
    _insert(window, value)
    if window[0, 2] % _CLOCK or window[0, 0] < 2 * _LEAST:
        return False
    changed = False
    while _differs(window, confidence):
        _drop(window)
        changed = True
    return changed


@njit(cache=True, nogil=True)
def _insert(window: _Floats, value: float) -> None:
    k, total = 1, value
    while True:
        used = int(window[k, 0])
        window[k, 1 + used] = total
        window[k, 0] += 1
        if used < BUCKETS or k == LEVELS:
            return
        total = window[k, 1] + window[k, 2]
        for j in range(1, BUCKETS):
            window[k, j] = window[k, j + 2]
        window[k, 0] -= 2
        k += 1


@njit(cache=True, nogil=True)
def _differs(window: _Floats, confidence: float) -> bool:
    rows, total = window[0, 0], window[0, 1]
    mean = total / rows
    variance = mean * (1 - mean)
    strict = math.log(2 * math.log(rows) / confidence)
    older, older_total = 0.0, 0.0
    for k in range(LEVELS, 0, -1):
        for j in range(int(window[k, 0])):
            older += 2.0 ** (k - 1)
            older_total += window[k, 1 + j]
            newer = rows - older
            if newer < _LEAST:
                return False
            if older < _LEAST:
                continue
            share = 1 / (older - _LEAST + 1) + 1 / (newer - _LEAST + 1)
            bound = math.sqrt(2 * share * variance * strict) + 2 / 3 * strict * share
            if abs(older_total / older - (total - older_total) / newer) > bound:
                return True
    return False


@njit(cache=True, nogil=True)
def _drop(window: _Floats) -> None:
    for k in range(LEVELS, 0, -1):
        used = int(window[k, 0])
        if used:
            window[0, 0] -= 2.0 ** (k - 1)
            window[0, 1] -= window[k, 1]
            for j in range(1, used):
                window[k, j] = window[k, j + 1]
            window[k, 0] -= 1
            return
