"""What a pipeline declares of its gates: what a model must pass before it serves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tidemill.processors.online_inference.target import Target
from tidemill.processors.training.gates.metrics import metric_named
from tidemill.processors.training.gates.resampling import RESAMPLES
from tidemill.schemas.errors import DeclarationError, nearest


@dataclass(frozen=True)
class Fairness:
    """How far the groups of a sensitive field may be apart, from 0 to 1; None is no limit.

    `demographic_parity` is about how often a group is answered with a class; `equalised_odds` about how often that
    happens among those of which it is true, and among those of which it is not (Hardt, Price and Srebro, 2016).
    """

    demographic_parity: float | None = None
    equalised_odds: float | None = None

    def limits(self) -> dict[str, float]:
        """The limits that are set, by name."""
        given = {"demographic_parity": self.demographic_parity, "equalised_odds": self.equalised_odds}
        return {name: limit for name, limit in given.items() if limit is not None}


@dataclass(frozen=True)
class Gates:
    """What a candidate must pass to become a model in service; measured on the newest events whose labels are known.

    `metric` decides (log_loss, or mae for numbers, unless named): it must be better than the champion's by more than
    `margin` and than the baseline's, and by more than noise at `confidence`. `slices` gives fields and by how much
    the metric may be worse than the champion's in a slice of theirs. `sensitive` gives fields and their `Fairness`.
    `calibration` limits the expected calibration error. Slices and groups of fewer than `least_slice` rows are not
    judged; with fewer than `least_rows` rows nothing can be shown.

    `latency_ms` limits the 99th percentile of the time for one event alone, `batch_ms` that for 10,000 at once,
    `load_ms` the loading, `memory_mb` what loading and scoring add to a worker's memory. `leakage` is how far from a
    perfect order a feature alone must stay to be beyond suspicion, as AUC (`leaks.py` tells of what). None switches a
    limit off.

    >>> Gates(slices={"origin": 0.02}, sensitive={"sex": Fairness(demographic_parity=0.1)}).confidence
    0.95
    """

    metric: str | None = None
    confidence: float = 0.95
    margin: float = 0.0
    slices: Mapping[str, float] = field(default_factory=dict, hash=False)
    sensitive: Mapping[str, Fairness] = field(default_factory=dict, hash=False)
    calibration: float | None = 0.1
    leakage: float | None = 0.98
    latency_ms: float | None = 500.0
    batch_ms: float | None = 10_000.0
    load_ms: float | None = 30_000.0
    memory_mb: float | None = 1_024.0
    least_rows: int = 100
    least_slice: int = 30
    resamples: int = RESAMPLES

    def __post_init__(self) -> None:
        _within("confidence", self.confidence, 0.5, 0.9999)
        _within("margin", self.margin, 0.0)
        for name, most in (("calibration", 1.0), ("leakage", 1.0)):
            if getattr(self, name) is not None:
                _within(name, getattr(self, name), 0.0, most)
        for name in ("latency_ms", "batch_ms", "load_ms", "memory_mb"):
            if getattr(self, name) is not None:
                _within(name, getattr(self, name), 0.0, above=True)
        for name, least in (("least_rows", 2), ("least_slice", 2), ("resamples", 100)):
            if type(getattr(self, name)) is not int or getattr(self, name) < least:
                raise DeclarationError(
                    f"Gates({name}={getattr(self, name)!r}): expected a whole number from {least} on"
                )
        self._check_fields()

    def _check_fields(self) -> None:
        for name, given in (("slices", self.slices), ("sensitive", self.sensitive)):
            if not isinstance(given, Mapping):
                raise DeclarationError(f"Gates({name}={given!r}): expected a mapping from fields, got no mapping")
        for column, tolerance in self.slices.items():
            _within(f"slices={{{column!r}: ...}}", tolerance, 0.0)
        for column, limits in self.sensitive.items():
            if not isinstance(limits, Fairness) or not limits.limits():
                raise DeclarationError(
                    f"Gates(sensitive={{{column!r}: {limits!r}}}): expected tm.Fairness(...) with one limit at least"
                )
            for name, limit in limits.limits().items():
                _within(f"sensitive={{{column!r}: Fairness({name}=...)}}", limit, 0.0, 1.0)

    def check(self, fields: Sequence[str], target: Target) -> None:
        """Raise DeclarationError unless slices and sensitive fields are among `fields` and the target has the metric.

        `fields` are the features and the other columns that come with the rows.
        """
        metric_named(self.metric, target)
        for role, named in (("slices", self.slices), ("sensitive", self.sensitive)):
            for name in named:
                if name not in fields:
                    raise DeclarationError(
                        f"Gates({role}=...) names a field {name!r} that is not there{nearest(name, fields)}; of an"
                        f" event's own fields those are there that are declared as features: tm.fields({name!r})"
                    )
        if self.sensitive and not target.classes:
            raise DeclarationError(
                "Gates(sensitive=...) compares how often groups are answered with a class; a regression has no classes:"
                " compare its errors with slices={...}"
            )


def _within(name: str, given: object, least: float, most: float = float("inf"), *, above: bool = False) -> None:
    fits = isinstance(given, int | float) and not isinstance(given, bool) and least <= given <= most
    if not fits or (above and given == least):
        bound = f"a number {'above' if above else 'from'} {least:g}{'' if above else ' on'}"
        raise DeclarationError(
            f"Gates({name}): expected {bound if most == float('inf') else f'a number from {least:g} to {most:g}'},"
            f" got {given!r}"
        )
