"""A linear classifier that learns row by row, compiled."""

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation import linear_kernel

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


class AdaptiveLinear:
    """Logistic regression by steps of a constant rate, so that it follows a boundary that moves slowly.

    Features are standardised by what was seen so far; a step is divided by the size of the row (normalised least mean
    squares; Nagumo and Noda, 1967), so that the rate means the same for any number of features.

    >>> rows = np.random.default_rng(0).normal(size=(600, 3))
    >>> labels = (rows[:, 0] > rows[:, 1]).astype(int)
    >>> learner = AdaptiveLinear(3, 2)
    >>> answers = learner.learn(rows, labels)
    >>> float((answers[300:].argmax(axis=1) == labels[300:]).mean()) > 0.95
    True
    """

    def __init__(self, features: int, classes: int, *, rate: float = 0.2) -> None:
        self._weights, self._moments = np.zeros((classes, features + 1)), np.zeros((2, features + 1))
        self._features, self._rate = np.zeros(features + 1), rate

    def learn(self, rows: _Floats, labels: _Integers) -> _Floats:
        """Learn rows in their order; the probabilities (n × classes) that each was answered with just before."""
        answers = self._answers(rows)
        linear_kernel.learn(self._weights, self._moments, rows, labels, self._rate, self._features, answers)
        return answers

    def predict(self, rows: _Floats) -> _Floats:
        """Probabilities (n × classes)."""
        answers = self._answers(rows)
        linear_kernel.predict(self._weights, self._moments, rows, self._features, answers)
        return answers

    def interleave(self, asked: _Floats, rows: _Floats, labels: _Integers) -> tuple[_Floats, _Floats]:
        """For each place: predict the row asked, then learn the other. The answers to both, as those methods give."""
        given, answers = self._answers(asked), self._answers(rows)
        linear_kernel.interleave(
            self._weights, self._moments, asked, rows, labels, self._rate, self._features, given, answers
        )
        return given, answers

    def _answers(self, rows: _Floats) -> _Floats:
        return np.zeros((len(rows), len(self._weights)))
