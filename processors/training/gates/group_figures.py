"""The groups of an examination compared, by fairlearn's metrics."""

import importlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.drift.fairness import GroupFigures, compare_groups, confusion_of
from tidemill.processors.training.gates.groups import Rows
from tidemill.processors.training.gates.metrics import Answers
from tidemill.schemas.errors import ModelError

Flags = NDArray[np.bool_]


def group_figures(given: Answers, groups: Mapping[str, Rows], least: int) -> GroupFigures:
    """As `compare_groups`, of rows; the differences are fairlearn's.

    Raises:
        ModelError: fairlearn is not installed.

    """
    classes = given.scores.shape[1]
    confusions = {name: confusion_of(given.actual[rows], given.decided[rows], classes) for name, rows in groups.items()}
    names = np.full(len(given.actual), -1)
    for number, (name, rows) in enumerate(groups.items()):
        if confusions[name].sum() >= least:
            names[rows] = number
    made = [_of_class(given, place, names, least) for place in (range(1, 2) if classes == 2 else range(classes))]
    parity, odds = (max(each[kind] for each in made) for kind in range(2))
    return replace(compare_groups(confusions, least), demographic_parity=parity, equalised_odds=odds)


def _of_class(given: Answers, place: int, names: NDArray[np.int64], least: int) -> tuple[float, float]:
    """Both differences for one class."""
    metrics = _fairlearn()
    actual, decided = given.actual == place, given.decided == place

    def apart(difference: Any, among: Flags) -> float:
        enough = [name for name in np.unique(names[names >= 0]) if np.count_nonzero(among & (names == name)) >= least]
        rows = np.isin(names, enough)
        if len(enough) < 2:
            return 0.0
        groups = names[rows].astype(str)
        return float(difference(actual[rows].astype(int), decided[rows].astype(int), sensitive_features=groups))

    odds = apart(metrics.true_positive_rate_difference, actual), apart(metrics.false_positive_rate_difference, ~actual)
    return apart(metrics.demographic_parity_difference, np.ones_like(actual)), max(odds)


def _fairlearn() -> Any:
    try:
        return importlib.import_module("fairlearn.metrics")
    except ImportError as error:
        raise ModelError("fairness is measured by fairlearn: pip install 'tidemill[training]'") from error
