"""A candidate in slices and groups: what an average of all events would hide."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from scipy.special import stdtr

from tidemill.processors.drift.fairness import Confusion, class_rates, compare_groups
from tidemill.processors.rollout.comparison import Comparison
from tidemill.processors.rollout.moments import Moments, interval, more_often
from tidemill.processors.training.gates.declaration import Gates

FEWEST = 5
"""Outcomes of a slice that are looked at at all."""
PATIENCE = 10
"""Slices with too few outcomes are waited for until there are so many times the outcomes that a stage needs."""
_WORDS = {"demographic_parity": "demographic parity difference", "equalised_odds": "equalised odds difference"}


@dataclass(frozen=True)
class Slice:
    """Candidate and reference in one slice; on `failures` of its outcomes only the candidate had no answer."""

    name: str
    """Of the field."""
    compared: Comparison = field(default_factory=Comparison)
    failures: int = 0

    @property
    def shown(self) -> int:
        """How many outcomes of the slice there are."""
        return self.compared.count + self.failures

    def merged(self, other: "Slice") -> "Slice":
        """Both together."""
        return Slice(self.name, self.compared.merged(other.compared), self.failures + other.failures)


@dataclass(frozen=True)
class Group:
    """What both models said of the same rows of a group, as confusion matrices: the candidate's, the reference's."""

    candidate: Confusion
    reference: Confusion

    def merged(self, other: "Group") -> "Group":
        """Both together."""
        return Group(self.candidate + other.candidate, self.reference + other.reference)


@dataclass(frozen=True)
class Finding:
    """What slices and groups say of a candidate: sentences, empty if there is nothing to say.

    `shown` is why it must go, at any number of looks. `doubt` is why it must not go on as things look now, and
    `unknown` why that cannot be said yet.
    """

    shown: str = ""
    doubt: str = ""
    unknown: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


def look_at_slices(
    gates: Gates, metric: str, slices: Mapping[str, Slice], alpha: float, most_failures: float
) -> Finding:
    """Whether no slice is served worse than the declared tolerance, or left unanswered.

    All slices share the error `alpha` (Bonferroni).

    >>> bad = Comparison.of(np.full(60, 2.0), np.full(60, 0.1), np.full(60, 2.0))
    >>> found = look_at_slices(Gates(slices={"shop": 0.02}), "log_loss", {"shop=B": Slice("shop", bad)}, 0.05, 0.01)
    >>> found.shown
    'in shop=B: log loss 2.0000 against 0.1000 on 60 outcomes (0.02 worse is tolerated)'
    """
    level = alpha / max(len(slices), 1)
    shown: list[str] = []
    doubt: list[str] = []
    unknown: list[str] = []
    figures: dict[str, float] = {}
    for name, found in slices.items():
        here, tolerance = found.compared, gates.slices[found.name]
        told = f"in {name}: {here.told(metric)} ({tolerance:g} worse is tolerated)"
        _, most = here.interval(level, gates.least_slice)
        if most < -tolerance:
            shown.append(told)
            figures |= {f"{name}.better": here.better, f"{name}.better_at_most": most}
        elif more_often(found.failures, found.shown, most_failures, level):
            shown.append(f"in {name}: it fails on {found.failures:,} of {found.shown:,} events that the other answers")
            figures |= {f"{name}.failures": float(found.failures), f"{name}.scored": float(found.shown)}
        elif found.shown < gates.least_slice:
            unknown.append(f"{name} has {found.shown:,} of {gates.least_slice} outcomes")
        elif _behind(here.difference, tolerance) <= level:
            doubt.append(told)
    return Finding("; ".join(shown), "; ".join(doubt), ", ".join(unknown), figures)


def _behind(difference: Moments, tolerance: float) -> float:
    """The p-value, at this look alone, of no more loss than tolerated."""
    if difference.count < FEWEST or difference.mean >= -tolerance:
        return 1.0
    error = float(np.sqrt(difference.squares / (difference.count - 1) / difference.count))
    return 0.0 if error == 0 else float(stdtr(difference.count - 1, (difference.mean + tolerance) / error))


def look_at_groups(gates: Gates, groups: Mapping[str, Mapping[str, Group]], alpha: float) -> Finding:
    """Whether the declared limits of fairness are kept; `groups` are by sensitive field and slice.

    A candidate goes for a difference that is shown to be beyond the limit, if the reference's is not as large. All
    limits share the error `alpha`.
    """
    limits = [
        (name, kind, limit)
        for name, fairness in gates.sensitive.items()
        if name in groups
        for kind, limit in fairness.limits().items()
    ]
    level = alpha / max(len(limits), 1)
    shown: list[str] = []
    doubt: list[str] = []
    figures: dict[str, float] = {}
    for name, kind, limit in limits:
        mine, theirs = (
            compare_groups({key: getattr(group, side) for key, group in groups[name].items()}, gates.least_slice)
            for side in ("candidate", "reference")
        )
        value, other = getattr(mine, kind), getattr(theirs, kind)
        if value <= max(limit, other):
            continue
        figure = f"{_WORDS[kind]} {value:.4f} against {other:.4f} on {mine.rows:,} outcomes (limit {limit:g})"
        told = f"in fairness by {name}: {figure}"
        if _surely_apart([group.candidate for group in groups[name].values()], kind, level, gates.least_slice) > limit:
            shown.append(told)
            figures[f"{name}.{kind}"] = value
        elif getattr(mine, f"{kind}_p") <= level:
            doubt.append(told)
    return Finding("; ".join(shown), "; ".join(doubt), "", figures)


def _surely_apart(confusions: list[Confusion], kind: str, level: float, least: int) -> float:
    """By how much the rates of two groups differ at least, at any number of looks."""
    width = len(confusions[0])
    classes = range(1, 2) if width == 2 else range(width)
    kinds = (0,) if kind == "demographic_parity" else (1, 2)
    level /= len(classes) * len(kinds) * len(confusions)
    most = 0.0
    for place, which in product(classes, kinds):
        bounds = []
        for confusion in confusions:
            said, rows = class_rates(confusion, place)[which]
            rate = said / rows if rows else 0.0
            bounds.append(interval(Moments(rows, rate, rows * rate * (1 - rate)), level, least, 1.0))
        most = max(most, max(low for low, _ in bounds) - min(high for _, high in bounds))
    return most
