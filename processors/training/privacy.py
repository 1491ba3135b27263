"""Differential privacy: what is asked for, and the account of what was spent on which rows.

Sequential composition (Dwork and Roth 2014, theorem 3.16): trainings on one row add up. Parallel composition
(McSherry 2009): trainings on rows that have nothing in common do not. So the account is kept by row, as ranges of
offsets, and a data set has spent as much as that of its rows that has most.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import pyarrow as pa

from tidemill.schemas.errors import DeclarationError, ModelError, nearest

Range = tuple[int, int, int]
"""A partition of the events, and the first and the last offset there."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class DifferentialPrivacy:
    """Train with epsilon-differential privacy: a row more or less changes how likely a model is by at most e**epsilon.

    `per_dataset_budget` is the most that trainings may spend together on any row. Values are cut off at `bounds`, which
    must be known without the data, one pair for each feature that is a number; booleans have 0 and 1. A number that is
    predicted has `label_bounds`.

    >>> DifferentialPrivacy(1.0, per_dataset_budget=4.0, bounds={"distance": (0, 3000)}).limits(["distance"])
    ([0.0], [3000.0])
    """

    epsilon: float
    per_dataset_budget: float
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    label_bounds: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        for name in ("epsilon", "per_dataset_budget"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise DeclarationError(f"DifferentialPrivacy({name}={value!r}): expected a number above 0")
        if self.epsilon > self.per_dataset_budget + _ROUNDING:
            raise DeclarationError(
                f"DifferentialPrivacy(epsilon={self.epsilon:g}): one training would spend more than"
                f" per_dataset_budget={self.per_dataset_budget:g}"
            )
        pairs = {**self.bounds, **({} if self.label_bounds is None else {"the label": self.label_bounds})}
        for name, (low, high) in pairs.items():
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise DeclarationError(
                    f"DifferentialPrivacy: the bounds of {name} are {low} and {high}; expected low < high"
                )

    def check(self, features: pa.Schema, names: Sequence[str], *, classes: bool) -> None:
        """Raise DeclarationError unless all that the model sees is bounded."""
        for name in self.bounds:
            if name not in names:
                raise DeclarationError(
                    f"DifferentialPrivacy(bounds=...) names {name!r}, no feature of the model{nearest(name, names)}"
                )
        for name in names:
            kind = features.field(name).type
            if pa.types.is_string(kind):
                raise DeclarationError(
                    f"feature {name!r} is text: private training takes numbers; make some by an expression"
                )
            if name not in self.bounds and not pa.types.is_boolean(kind):
                raise DeclarationError(
                    f"private training must know between which numbers feature {name!r} lies, without looking at the"
                    f" data: DifferentialPrivacy(bounds={{{name!r}: (low, high)}})"
                )
        if not classes and self.label_bounds is None:
            raise DeclarationError(
                "private training of a number must know its bounds: DifferentialPrivacy(label_bounds=(low, high))"
            )

    def limits(self, names: Sequence[str]) -> tuple[list[float], list[float]]:
        """The low and the high bounds of these features."""
        pairs = [self.bounds.get(name, (0.0, 1.0)) for name in names]
        return [float(low) for low, _ in pairs], [float(high) for _, high in pairs]


@dataclass(frozen=True)
class Spending:
    """One training's entry in the account: how much, on which data set, and on which rows if they are known."""

    dataset: str
    epsilon: float
    ranges: tuple[Range, ...] = ()

    def record(self) -> dict[str, Any]:
        """As it is kept: JSON."""
        return {
            "dataset": self.dataset,
            "epsilon": self.epsilon,
            "ranges": [{"partition": p, "first": first, "last": last} for p, first, last in self.ranges],
        }

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Self:
        """From what `record` gave."""
        ranges = tuple((part["partition"], part["first"], part["last"]) for part in record.get("ranges") or ())
        return cls(record["dataset"], float(record["epsilon"]), ranges)

    def covers(self, partition: int, offset: int) -> bool:
        """Whether the row was trained on."""
        return any(p == partition and first <= offset <= last for p, first, last in self.ranges)


def spent(records: Iterable[Spending], dataset: str, ranges: Sequence[Range] = ()) -> float:
    """The most that the trainings have spent together on any row of the data set.

    Those on a data set of the same id are on all of its rows. Others count where their ranges meet `ranges`; one
    without ranges has nothing to do with another id.

    >>> account = [Spending("a", 1.0, ((0, 0, 99),)), Spending("b", 2.0, ((0, 50, 149),))]
    >>> spent(account, "c", [(0, 90, 300)]), spent(account, "c", [(0, 100, 300)]), spent(account, "c", [(1, 0, 9)])
    (3.0, 2.0, 0.0)
    """
    entries = list(records)
    same = [entry.epsilon for entry in entries if entry.dataset == dataset]
    others = [entry for entry in entries if entry.dataset != dataset]
    # The most is reached where some stretch begins.
    begins = {(p, first) for p, first, _ in ranges}
    begins |= {
        (p, begin)
        for entry in others
        for p, begin, _ in entry.ranges
        if any(p == partition and first <= begin <= last for partition, first, last in ranges)
    }
    sums = [math.fsum([*same, *(entry.epsilon for entry in others if entry.covers(*row))]) for row in begins]
    return max(sums, default=math.fsum(same))


def require_budget(
    records: Iterable[Spending], dataset: str, privacy: DifferentialPrivacy, ranges: Sequence[Range] = ()
) -> Spending:
    """The entry for one more training, to be kept before it begins: what fails half-way has spent all the same.

    Raises:
        ModelError: some row's budget does not have so much left.

    """
    before = spent(records, dataset, ranges)
    after = before + privacy.epsilon
    if after > privacy.per_dataset_budget + _ROUNDING:
        raise ModelError(
            f"refused: training on data set {dataset} with epsilon {privacy.epsilon:g} would make {after:g} of a budget"
            f" of {privacy.per_dataset_budget:g}, of which {before:g} is spent on some of its rows; train on newer rows"
            " only, or raise per_dataset_budget"
        )
    return Spending(dataset, privacy.epsilon, tuple(ranges))
