"""The compiled loops of fitted batch models; `fitted` owns the arrays and says what they mean.

A row is answered by itself, in one order of additions: which rows come together changes nothing.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


@njit(cache=True, nogil=True)
def _probabilities(scores: _Floats, classes: _Integers, answer: _Floats) -> None:
    """One score for two classes, by the logistic function, or one for each, by softmax."""
    if len(classes) == 1:
        answer[classes[0]] = 1.0
        return
    if len(scores) == 1:
        # No overflow on either side.
        small = math.exp(-abs(scores[0]))
        up = 1.0 / (1.0 + small) if scores[0] >= 0 else small / (1.0 + small)
        answer[classes[0]], answer[classes[1]] = 1.0 - up, up
        return
    highest, total = scores.max(), 0.0
    for c in range(len(scores)):
        answer[classes[c]] = math.exp(scores[c] - highest)
        total += answer[classes[c]]
    for c in range(len(scores)):
        answer[classes[c]] /= total


@njit(cache=True, nogil=True)
def trees(
    rows: _Floats,
    feature: NDArray[np.int32],
    threshold: _Floats,
    left: NDArray[np.int32],
    right: NDArray[np.int32],
    missing_left: NDArray[np.uint8],
    value: _Floats,
    roots: NDArray[np.int32],
    base: _Floats,
    classes: _Integers,
    answers: _Floats,
) -> None:
    """Add up the leaves that each row falls into; `roots` is trees × scores."""
    scores = np.zeros(len(base))
    for i in range(len(rows)):
        scores[:] = base
        for k in range(len(roots)):
            for c in range(len(base)):
                node = roots[k, c]
                while left[node] >= 0:
                    cell = rows[i, feature[node]]
                    below = missing_left[node] == 1 if math.isnan(cell) else cell <= threshold[node]
                    node = left[node] if below else right[node]
                scores[c] += value[node]
        _probabilities(scores, classes, answers[i])


@njit(cache=True, nogil=True)
def linear(
    rows: _Floats,
    mean: _Floats,
    scale: _Floats,
    weights: _Floats,
    base: _Floats,
    classes: _Integers,
    answers: _Floats,
) -> None:
    """Weigh standardised features; a missing one is as the mean."""
    scores = np.zeros(len(base))
    for i in range(len(rows)):
        for c in range(len(base)):
            total = base[c]
            for f in range(len(mean)):
                cell = rows[i, f]
                if not math.isnan(cell):
                    total += weights[c, f] * ((cell - mean[f]) / scale[f])
            scores[c] = total
        _probabilities(scores, classes, answers[i])
