"""The compiled loop of the blend; `blend` owns the arrays and says what they mean."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

_Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def mix(answers: _Floats, losses: _Floats, rate: float, weights: _Floats, mixed: _Floats) -> None:
    """Mix one row's answers (members × classes) by exp(-rate × loss)."""
    least, total = losses.min(), 0.0
    for m in range(len(losses)):
        weights[m] = math.exp(-rate * (losses[m] - least))
        total += weights[m]
    mixed[:] = 0.0
    for m in range(len(losses)):
        for c in range(len(mixed)):
            mixed[c] += weights[m] / total * answers[m, c]


@njit(cache=True, nogil=True)
def learn(
    answers: _Floats, labels: NDArray[np.int64], keep: float, rate: float, least: float, losses: _Floats, mixed: _Floats
) -> None:
    """Take rows in their order: mix each (n × members × classes), then charge each member its logarithmic loss."""
    weights = np.zeros(len(losses))
    for i in range(len(labels)):
        mix(answers[i], losses, rate, weights, mixed[i])
        for m in range(len(losses)):
            losses[m] = keep * losses[m] - math.log(max(answers[i, m, labels[i]], least))


@njit(cache=True, nogil=True)
def predict(answers: _Floats, losses: _Floats, rate: float, mixed: _Floats) -> None:
    """Mix rows without learning."""
    weights = np.zeros(len(losses))
    for i in range(len(answers)):
        mix(answers[i], losses, rate, weights, mixed[i])


@njit(cache=True, nogil=True)
def interleave(
    asked: _Floats,
    answers: _Floats,
    labels: NDArray[np.int64],
    keep: float,
    rate: float,
    least: float,
    losses: _Floats,
    given: _Floats,
    mixed: _Floats,
) -> None:
    """Mix the answers to a row, then learn another, in turn."""
    weights = np.zeros(len(losses))
    for i in range(len(labels)):
        mix(asked[i], losses, rate, weights, given[i])
        part = slice(i, i + 1)
        learn(answers[part], labels[part], keep, rate, least, losses, mixed[part])
