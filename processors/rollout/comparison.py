"""Two models on the same events: how their losses differ, in sums that can be merged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.online_inference.target import Target
from tidemill.processors.rollout.moments import Moments, interval

FLOOR = 1e-4
"""A probability counts as this at least: one event that was ruled out must not outweigh thousands of others."""
Numbers = NDArray[np.float64]


def default_metric(target: Target) -> str:
    """What models are compared by unless it is declared."""
    return "log_loss" if target.classes else "absolute_error"


def losses(metric: str, target: Target, values: Sequence[Any], scores: Numbers, labels: Sequence[Any]) -> Numbers:
    """Each event's loss by the metric; less is better. `scores` has a column for each class.

    >>> losses("log_loss", Target((False, True)), [True], np.array([[0.5, 0.5]]), [True]).round(3)
    array([0.693])
    >>> losses("accuracy", Target((False, True)), [True, True], np.ones((2, 2)) / 2, [True, False])
    array([0., 1.])
    >>> losses("absolute_error", Target(()), [1.5], np.array([[1.5]]), [1.0])
    array([0.5])
    """
    if metric == "absolute_error":
        return np.abs(np.asarray(values, np.float64) - np.asarray(labels, np.float64))
    if metric == "accuracy":
        return np.array([float(value != label) for value, label in zip(values, labels, strict=True)])
    places = {label: place for place, label in enumerate(target.classes)}
    which = np.array([places.get(label, -1) for label in labels], np.int64)
    said = np.where(which >= 0, scores[np.arange(len(which)), which], 0.0) if len(which) else np.zeros(0)
    return np.asarray(-np.log(np.clip(said, FLOOR, 1.0)))


def widest(metric: str, values: tuple[Sequence[Any], Sequence[Any]], scores: tuple[Numbers, Numbers]) -> Numbers:
    """By how much each event's losses of two models could have differed, whatever its label.

    >>> widest("log_loss", ([True], [True]), (np.array([[0.5, 0.5]]), np.array([[0.25, 0.75]]))).round(3)
    array([0.693])
    >>> widest("absolute_error", ([1.5], [2.0]), (np.empty((1, 0)), np.empty((1, 0))))
    array([0.5])
    """
    if metric == "absolute_error":
        return np.abs(np.asarray(values[0], np.float64) - np.asarray(values[1], np.float64))
    if metric == "accuracy":
        return np.array([float(one != other) for one, other in zip(*values, strict=True)])
    one, other = (np.log(np.clip(side, FLOOR, 1.0)) for side in scores)
    return np.asarray(np.abs(one - other).max(axis=1, initial=0.0))


@dataclass(frozen=True)
class Comparison:
    """A candidate and a reference on the same events; `better` is the mean of the reference's loss less its own.

    `largest` is how far their losses of one event could have been apart, with another label: what has not shown yet.
    """

    difference: Moments = field(default_factory=Moments)
    candidate_loss: float = 0.0
    reference_loss: float = 0.0
    largest: float = 0.0

    @staticmethod
    def of(candidate: Numbers, reference: Numbers, apart: Numbers) -> "Comparison":
        """Of the losses of both on each event, and how far `apart` they could have been.

        >>> made = Comparison.of(np.array([0.1, 0.3]), np.array([0.4, 0.4]), np.array([0.9, 0.9]))
        >>> made.count, round(made.better, 3)
        (2, 0.2)
        """
        if not len(candidate):
            return Comparison()
        means = float(candidate.mean()), float(reference.mean())
        return Comparison(Moments.of(reference - candidate), *means, float(apart.max()))

    def merged(self, other: "Comparison") -> "Comparison":
        """Both together."""
        total = self.count + other.count
        if not total:
            return self
        mine, theirs = self.count / total, other.count / total
        return Comparison(
            self.difference.merged(other.difference),
            self.candidate_loss * mine + other.candidate_loss * theirs,
            self.reference_loss * mine + other.reference_loss * theirs,
            max(self.largest, other.largest),
        )

    def turned(self) -> "Comparison":
        """The same with candidate and reference exchanged."""
        turned = Moments(self.difference.count, -self.difference.mean, self.difference.squares)
        return Comparison(turned, self.reference_loss, self.candidate_loss, self.largest)

    @property
    def count(self) -> int:
        """How many events."""
        return self.difference.count

    @property
    def better(self) -> float:
        """By how much the candidate's loss is lower, on the mean."""
        return self.difference.mean

    def told(self, metric: str) -> str:
        """Both losses, in words."""
        named = {"accuracy": "error rate"}.get(metric, metric.replace("_", " "))
        return f"{named} {self.candidate_loss:.4f} against {self.reference_loss:.4f} on {self.count:,} outcomes"

    def interval(self, alpha: float, least: int) -> tuple[float, float]:
        """Bounds of `better` that hold at every look together; see `moments.interval`."""
        return interval(self.difference, alpha, least, self.largest)

    def figures(self, alpha: float, least: int) -> dict[str, float]:
        """What a decision is told with."""
        low, high = self.interval(alpha, least)
        found = {"outcomes": float(self.count), "candidate": self.candidate_loss, "reference": self.reference_loss}
        bounds = {"better": self.better, "better_at_least": low, "better_at_most": high}
        return found | {name: value for name, value in bounds.items() if math.isfinite(value)}
