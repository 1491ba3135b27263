"""How a model learns in the stream, as declared."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tidemill.processors.duration import duration
from tidemill.schemas.errors import DeclarationError


@dataclass(frozen=True)
class Learning:
    """A model that learns from each outcome as it becomes known, one after the other: one of River's, or the project's.

    `every` says when a version of it is published: after so many outcomes, or a span of label time, whose bounds are
    counted from 1970 in UTC. `batch` is how many outcomes are learned at a time, with the model's `learn_many`; one is
    what River does. `idle` is for how long a partition of outcomes must have been quiet before the others' are learned
    without waiting for it.

    >>> Learning(every=500).rows, Learning(every="1h").span
    (500, 3600000000)
    """

    every: int | str | timedelta = "1h"
    batch: int = 1
    idle: str | timedelta = "5s"

    @property
    def rows(self) -> int | None:
        """After how many outcomes a version is published; None where label time decides."""
        return self.every if isinstance(self.every, int) else None

    @property
    def span(self) -> int | None:
        """After how many microseconds of label time a version is published; None where the number of rows decides."""
        return None if isinstance(self.every, int) else duration(self.every)

    @property
    def idle_seconds(self) -> float:
        """How long a partition must have been quiet."""
        return duration(self.idle) / 1e6

    def check(self, estimator: Any) -> None:
        """Raise DeclarationError unless this estimator can learn so."""
        name = type(estimator).__name__
        if not hasattr(estimator, "learn_one"):
            raise DeclarationError(
                f"Model({name}(), learning=...): expected one of River's models, which have learn_one, or"
                " tm.AdaptiveClassifier(); others are trained by `tidemill train`"
            )
        if (self.rows is not None and self.rows < 1) or (self.span is not None and self.span < 1):
            raise DeclarationError(f"Learning(every={self.every!r}): expected at least one outcome, or a span of time")
        if self.batch < 1:
            raise DeclarationError(f"Learning(batch={self.batch}): expected at least one")
        if self.batch > 1 and not hasattr(estimator, "learn_many"):
            raise DeclarationError(
                f"Learning(batch={self.batch}): {name} learns one row at a time, it has no learn_many: leave it out"
            )
        assert self.idle_seconds >= 0


def for_classes(estimator: Any, classes: Sequence[Any]) -> Any:
    """The estimator, told the pipeline's classes if it has to know them; DeclarationError if it cannot tell them."""
    return estimator.for_classes(classes) if hasattr(estimator, "for_classes") else estimator
