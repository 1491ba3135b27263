"""What a pipeline declares of how a new model takes over."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, get_args

from tidemill.processors.duration import duration
from tidemill.schemas.errors import DeclarationError, nearest

Metric = Literal["log_loss", "accuracy", "absolute_error"]
METRICS: tuple[str, ...] = get_args(Metric)
_LONGEST_DEADLINE = 60
_FEWEST_OUTCOMES = 30


@dataclass(frozen=True)
class Rollout:
    """How a new model takes over: shadow, then canary, then champion on probation.

    `shadow`, `canary_for` and `probation` are how long a stage lasts at least: a span of event time, such as "1d", or a
    number of outcomes. `canary` is the share of keys that the canary answers; with 0 there is no such stage. Nothing is
    decided in a model's favour on fewer than `least_outcomes` outcomes in a stage.

    The two models are compared on the same events by `metric`: log_loss where there are classes and absolute_error
    where there are none, unless declared. A challenger becomes champion once it is shown to be better by more than
    `margin`, in units of the metric; with a margin below 0, once it is shown not to be worse by more. One that is shown
    to be worse goes, in each stage. One of which neither is shown after `give_up` of event time goes too. Shown means:
    with an error of at most `alpha` in all, however often one looks.

    A model that fails on more than `most_failures` of the events that the other one answers goes at once, whatever its
    stage. `deadline` is how long a challenger may take for a batch.

    >>> Rollout(shadow="2d", canary=0.05).canary
    0.05

    Raises:
        DeclarationError: a setting is out of its range.

    """

    shadow: str | timedelta | int = "1d"
    canary: float = 0.1
    canary_for: str | timedelta | int = "1d"
    probation: str | timedelta | int = "1d"
    least_outcomes: int = 200
    metric: Metric | None = None
    margin: float = 0.0
    alpha: float = 0.05
    give_up: str | timedelta = "30d"
    most_failures: float = 0.01
    deadline: str | timedelta = "5s"

    def __post_init__(self) -> None:
        if not 0 <= self.canary < 1:
            raise DeclarationError(f"canary={self.canary!r}: expected a share of keys from 0 (no canary) to below 1")
        if self.least_outcomes < _FEWEST_OUTCOMES:
            raise DeclarationError(
                f"least_outcomes={self.least_outcomes!r}: expected {_FEWEST_OUTCOMES} at least; fewer say nothing"
            )
        if self.metric is not None and self.metric not in METRICS:
            raise DeclarationError(f"there is no metric {self.metric!r}{nearest(str(self.metric), METRICS)}")
        for name in ("alpha", "most_failures"):
            if not 0 < getattr(self, name) < 1:
                raise DeclarationError(f"{name}={getattr(self, name)!r}: expected a share between 0 and 1")
        if not 0 < self.deadline_seconds <= _LONGEST_DEADLINE:
            raise DeclarationError(
                f"deadline={self.deadline!r}: expected more than 0 and at most {_LONGEST_DEADLINE} s"
            )
        for length in (self.shadow, self.canary_for, self.probation):
            span_or_count(length)
        duration(self.give_up)

    def check(self, classes: int) -> None:
        """Refuse a metric that the target does not have: one of `classes` classes, or a number if there are none."""
        known = {"log_loss", "accuracy"} if classes else {"absolute_error"}
        if self.metric is not None and self.metric not in known:
            of = "classes" if classes else "a number"
            raise DeclarationError(
                f"Rollout(metric=...): there is no {self.metric!r} of {of}{nearest(self.metric, known)}"
            )

    @property
    def deadline_seconds(self) -> float:
        """How long a challenger may take for a batch."""
        return duration(self.deadline) / 1e6


def span_or_count(length: str | timedelta | int) -> tuple[int, int]:
    """How long a stage lasts: a span of event time in microseconds, or a number of outcomes; the other one is 0.

    >>> span_or_count("1s"), span_or_count(500)
    ((1000000, 0), (0, 500))
    """
    if isinstance(length, int):
        if length < 0 or isinstance(length, bool):
            raise DeclarationError(f"a stage of {length} outcomes: expected a number that is not negative")
        return 0, length
    return duration(length), 0
