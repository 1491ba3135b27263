"""How groups of people are answered: figures of fairness, of an examination or of a window in production."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency

from tidemill.processors.training.gates.groups import Rows
from tidemill.processors.training.gates.metrics import Answers
from tidemill.schemas.errors import ModelError

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class GroupFigures:
    """How far groups are apart, from 0 to 1, and how likely chance alone gives such differences between equal ones.

    `rates` has for each group that counts: how often it is answered with the class, how often among those of which
    that is true, and among those of which it is not (NaN where there are too few of them). Of more than two classes
    it is the one for which groups are furthest apart.
    """

    demographic_parity: float
    demographic_parity_p: float
    equalised_odds: float
    equalised_odds_p: float
    rates: Mapping[str, tuple[float, float, float]]
    too_few: int
    """Groups that have too few rows to be compared."""


def group_figures(given: Answers, groups: Mapping[str, Rows], least: int) -> GroupFigures:
    """Compare the groups that have `least` rows at least, by fairlearn's metrics.

    Differences are those between the groups with the highest and the lowest rate. The p-values are those of the
    chi-squared test of equal rates; for equalised odds twice the smaller one of its two rates.

    Raises:
        ModelError: fairlearn is not installed.

    """
    classes = range(1, 2) if given.scores.shape[1] == 2 else range(given.scores.shape[1])
    large = {name: rows for name, rows in groups.items() if len(rows) >= least}
    names = np.full(len(given.actual), -1)
    for number, rows in enumerate(large.values()):
        names[rows] = number
    made = [_of_class(given.decided == each, given.actual == each, names, least) for each in classes]
    parity = max((each[0] for each in made), key=lambda pair: pair[0])
    odds = max((each[1] for each in made), key=lambda pair: pair[0])
    chosen = max(zip(made, classes, strict=True), key=lambda pair: pair[0][0][0])[1]
    rates = {
        name: _rates(given.decided[rows] == chosen, given.actual[rows] == chosen, least) for name, rows in large.items()
    }
    count = len(classes)
    return GroupFigures(
        parity[0], min(1.0, count * parity[1]), odds[0], min(1.0, count * odds[1]), rates, len(groups) - len(large)
    )


def _of_class(
    decided: Flags, actual: Flags, names: NDArray[np.int64], least: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Both differences, each with its p-value."""
    fairlearn = _fairlearn()
    parity = _apart(fairlearn.demographic_parity_difference, decided, actual, names, names >= 0)
    true_rate = _apart(
        fairlearn.true_positive_rate_difference, decided, actual, names, _counting(names, actual, least), among=actual
    )
    false_rate = _apart(
        fairlearn.false_positive_rate_difference,
        decided,
        actual,
        names,
        _counting(names, ~actual, least),
        among=~actual,
    )
    return parity, (max(true_rate[0], false_rate[0]), min(1.0, 2 * min(true_rate[1], false_rate[1])))


def _counting(names: NDArray[np.int64], among: Flags, least: int) -> Flags:
    """The rows of groups with enough rows among these: of fewer, a rate says nothing."""
    enough = [name for name in np.unique(names[names >= 0]) if np.count_nonzero(among & (names == name)) >= least]
    return np.isin(names, enough)


def _apart(
    difference: Any, decided: Flags, actual: Flags, names: NDArray[np.int64], rows: Flags, among: Flags | None = None
) -> tuple[float, float]:
    groups = names[rows]
    if len(np.unique(groups)) < 2:
        return 0.0, 1.0
    apart = float(
        difference(actual[rows].astype(int), decided[rows].astype(int), sensitive_features=groups.astype(str))
    )
    counted = rows if among is None else rows & among
    table = np.array(
        [
            [np.count_nonzero(decided & mine), np.count_nonzero(~decided & mine)]
            for mine in (counted & (names == name) for name in np.unique(groups))
        ]
    )
    if (table.sum(axis=0) == 0).any():
        return apart, 1.0
    return apart, float(chi2_contingency(table, correction=False).pvalue)


def _rates(decided: Flags, actual: Flags, least: int) -> tuple[float, float, float]:
    def share(rows: Flags) -> float:
        return float(decided[rows].mean()) if np.count_nonzero(rows) >= least else float("nan")

    return float(decided.mean()), share(actual), share(~actual)


def _fairlearn() -> Any:
    try:
        return importlib.import_module("fairlearn.metrics")
    except ImportError as error:
        raise ModelError("fairness is measured by fairlearn: pip install 'tidemill[training]'") from error
