"""The compiled loops of the linear learner; `linear` owns the arrays and says what they mean."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

_Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def _standardise(row: _Floats, moments: _Floats, out: _Floats) -> None:
    """Distances from the means in standard deviations, at most 5; the last is the constant 1."""
    seen = moments[0, -1]
    for f in range(len(row)):
        spread = math.sqrt(moments[1, f] / seen) if seen > 0 else 0.0
        distance = (row[f] - moments[0, f]) / spread if spread > 1e-12 else 0.0
        out[f] = min(max(distance, -5.0), 5.0)
    out[-1] = 1.0


@njit(cache=True, nogil=True)
def _answer(weights: _Floats, features: _Floats, answer: _Floats) -> None:
    highest = -1e300
    for c in range(len(answer)):
        score = 0.0
        for f in range(len(features)):
            score += weights[c, f] * features[f]
        answer[c] = score
        highest = max(highest, score)
    total = 0.0
    for c in range(len(answer)):
        answer[c] = math.exp(answer[c] - highest)
        total += answer[c]
    for c in range(len(answer)):
        answer[c] /= total


@njit(cache=True, nogil=True)
def predict(weights: _Floats, moments: _Floats, rows: _Floats, features: _Floats, answers: _Floats) -> None:
    """Answer rows without learning."""
    for i in range(len(rows)):
        _standardise(rows[i], moments, features)
        _answer(weights, features, answers[i])


@njit(cache=True, nogil=True)
def learn(
    weights: _Floats,
    moments: _Floats,
    rows: _Floats,
    labels: NDArray[np.int64],
    rate: float,
    features: _Floats,
    answers: _Floats,
) -> None:
    """Take rows in their order: answer each, then take a step against its error."""
    for i in range(len(rows)):
        _standardise(rows[i], moments, features)
        _answer(weights, features, answers[i])
        size = 0.0
        for value in features:
            size += value * value
        for c in range(weights.shape[0]):
            step = rate / (1 + size) * ((1.0 if labels[i] == c else 0.0) - answers[i, c])
            for f in range(len(features)):
                weights[c, f] += step * features[f]
        moments[0, -1] += 1
        for f in range(rows.shape[1]):
            difference = rows[i, f] - moments[0, f]
            moments[0, f] += difference / moments[0, -1]
            moments[1, f] += difference * (rows[i, f] - moments[0, f])


@njit(cache=True, nogil=True)
def interleave(
    weights: _Floats,
    moments: _Floats,
    asked: _Floats,
    rows: _Floats,
    labels: NDArray[np.int64],
    rate: float,
    features: _Floats,
    given: _Floats,
    answers: _Floats,
) -> None:
    """Answer a row, then learn another, in turn."""
    for i in range(len(asked)):
        part = slice(i, i + 1)
        predict(weights, moments, asked[part], features, given[part])
        learn(weights, moments, rows[part], labels[part], rate, features, answers[part])
