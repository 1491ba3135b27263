"""What a pipeline declares of retraining: what leads to it, and what holds it back."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from tidemill.processors.drift.declaration import KINDS
from tidemill.processors.duration import duration
from tidemill.processors.training.selection import Selection
from tidemill.schemas.errors import DeclarationError, nearest

FAULTS = ("missing_rate", "rejection_rate")
"""Incidents that are mended, not learnt."""
_CAUSES = tuple(kind for kind in KINDS if kind not in FAULTS)
_METRICS = {"accuracy": 1, "auc": 1, "log_loss": -1, "brier": -1, "calibration_error": -1, "mae": -1, "rmse": -1}
"""Metrics, and whether more (1) or less (-1) is better."""


@dataclass(frozen=True)
class Retrain:
    """When a new model is wanted, and what holds that back; all spans are event time.

    A trigger follows from open incidents of the kinds `on`, of which there must be `quorum` at the least, and only
    critical ones if `severity` says so; from a metric of a window that is worse than its `floor`; when none has fired
    for `at_least_every`; after so many new `labels`; from anybody's request; and, as long as the prior answers, once
    there are `least_labels` to learn a first model from.

    Held back is what comes while the job of another trigger has not ended, within `cooldown` of the last one, beyond
    the `budget` ("4/week"), with fewer than `least_labels` new labels, or while values are missing or events rejected
    more than before: such a fault is to be mended, and a model must not learn it. A request is not held back.

    `select` says which rows a job learns from, such as `[tm.last_rows(100_000)]`; by default from all that is archived.

    >>> Retrain(cooldown="12h", budget="4/week").budget_of
    (4, 604800000)
    """

    on: Sequence[str] = ("concept_drift", "data_drift", "prediction_drift", "estimated_performance")
    severity: str = "warning"
    quorum: int = 1
    floor: Mapping[str, float] = field(default_factory=dict, hash=False)
    at_least_every: str | timedelta | None = None
    labels: int | None = None
    cooldown: str | timedelta = "1d"
    budget: str | None = "4/week"
    least_labels: int = 500
    select: Sequence[Selection] = ()

    def __post_init__(self) -> None:
        for kind in self.on:
            if kind in FAULTS:
                raise DeclarationError(f"Retrain(on=...): {kind} is a fault of the data, which must not be learnt")
            if kind not in _CAUSES:
                raise DeclarationError(f"Retrain(on=...): there is no alert {kind!r}{nearest(kind, _CAUSES)}")
        if self.severity not in ("warning", "critical"):
            raise DeclarationError(f"Retrain(severity={self.severity!r}): expected 'warning' or 'critical'")
        for name in self.floor:
            if name not in _METRICS:
                raise DeclarationError(f"Retrain(floor=...): there is no metric {name!r}{nearest(name, _METRICS)}")
        if self.quorum < 1 or self.least_labels < 0 or (self.labels is not None and self.labels < 1):
            raise DeclarationError("Retrain(...): quorum and labels are at least 1, least_labels at least 0")
        assert (self.cooldown_ms, self.every_ms, self.budget_of) is not None

    @property
    def cooldown_ms(self) -> int:
        """The least time between two triggers."""
        return duration(self.cooldown) // 1_000

    @property
    def every_ms(self) -> int | None:
        """The most time between two triggers."""
        return None if self.at_least_every is None else max(duration(self.at_least_every) // 1_000, 1)

    @property
    def budget_of(self) -> tuple[int, int] | None:
        """How many triggers may fire, in how many milliseconds."""
        if self.budget is None:
            return None
        found = re.fullmatch(r"([1-9][0-9]{0,3})/(hour|day|week|month|[0-9].*)", self.budget)
        if found is None:
            raise DeclarationError(f"Retrain(budget={self.budget!r}): expected such as '4/week', '1/day' or '10/30d'")
        named = {"hour": "1h", "day": "1d", "week": "1w", "month": "30d"}
        return int(found[1]), max(duration(named.get(found[2], found[2])) // 1_000, 1)

    def check(self, classes: int) -> None:
        """Refuse a floor for a metric that windows of this target do not have; it would never be broken.

        `classes` is how many there are: 0 for a regression.
        """
        without = {"mae", "rmse"} if classes else set(_METRICS) - {"mae", "rmse"}
        known = set(_METRICS) - without - ({"auc"} if classes > 2 else set())
        for name in self.floor:
            if name not in known:
                of = f"{classes} classes" if classes else "a number"
                raise DeclarationError(f"Retrain(floor=...): there is no {name!r} of {of}{nearest(name, known)}")

    def broken_floor(self, metrics: Mapping[str, float]) -> tuple[str, float, float] | None:
        """The first metric that is worse than its floor: its name, what it is, and the floor."""
        for name, least in sorted(self.floor.items()):
            if name in metrics and (metrics[name] - least) * _METRICS[name] < 0:
                return name, metrics[name], least
        return None
