"""Fairness limits: groups of a sensitive field must not be answered too differently."""

import numpy as np

from tidemill.processors.drift.fairness import GroupFigures
from tidemill.processors.training.gates.examination import Examination
from tidemill.processors.training.gates.group_figures import group_figures
from tidemill.processors.training.gates.groups import groups_of
from tidemill.processors.training.gates.verdict import GateResult

WORDS = {"demographic_parity": "demographic parity difference", "equalised_odds": "equalised odds difference"}


def fairness_gate(given: Examination) -> GateResult:
    """Whether every declared difference is within its limit.

    It is refused if it is beyond the limit and chance does not explain that groups differ: at a level divided by the
    number of limits (Bonferroni).
    """
    made = fairness_figures(given)
    limits = [
        (column, name, limit)
        for column, fairness in given.gates.sensitive.items()
        for name, limit in fairness.limits().items()
    ]
    level = (1 - given.gates.confidence) / len(limits)
    figures: dict[str, float] = {"level": level}
    beyond: list[str] = []
    within: list[str] = []
    for column, name, limit in limits:
        value, p_value = getattr(made[column], name), getattr(made[column], f"{name}_p")
        figures |= {f"{column}.{name}": value, f"{column}.{name}_p": p_value, f"{column}.{name}_limit": limit}
        said = f"{WORDS[name]} by {column} {value:.4f} (limit {limit:g}, p {p_value:.2g})"
        (beyond if value > limit and p_value <= level else within).append(said)
    few = sum(each.too_few for each in made.values())
    figures["groups_with_too_few_rows"] = few
    tail = f"; groups of fewer than {given.gates.least_slice} rows are not judged: {few}" if few else ""
    if beyond:
        return GateResult("fairness", False, figures, f"Beyond the limit: {', '.join(beyond)}{tail}.")
    return GateResult("fairness", True, figures, f"None is beyond its limit and chance: {', '.join(within)}{tail}.")


def fairness_figures(given: Examination) -> dict[str, GroupFigures]:
    """The figures of each sensitive field, on the rows that the candidate has answered."""
    kept = np.flatnonzero(given.answered)
    mine = given.of(given.candidate).take(kept)
    return {
        column: group_figures(
            mine,
            {
                name: np.flatnonzero(np.isin(kept, rows))
                for name, rows in groups_of(given.columns, column, given.private).items()
            },
            given.gates.least_slice,
        )
        for column in given.gates.sensitive
    }
