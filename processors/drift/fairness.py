"""How groups of people are answered: differences between them, of an examination or of a window in production.

All is made of confusion matrices, one for each group, as profiles of outcomes have them for each slice.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_ROWS = 30
Confusion = NDArray[np.int64]
"""Rows by what happened and by what was said: [happened, said]."""
Rates = tuple[float, float, float]


@dataclass(frozen=True)
class GroupFigures:
    """How far groups are apart, from 0 to 1, and how likely chance alone gives such differences between equal ones.

    Demographic parity is about how often a group is answered with a class; equalised odds about how often that is said
    of those of which it is true, and of those of which it is not (Hardt, Price and Srebro, 2016). The difference is
    that between the groups with the highest and the lowest rate. `rates` has these three shares for each group, NaN
    where there are too few rows. There is one class to look at if there are two, the second; of more, it is the one for
    which groups are furthest apart.
    """

    demographic_parity: float
    demographic_parity_p: float
    equalised_odds: float
    equalised_odds_p: float
    rates: Mapping[str, Rates]
    rows: int
    too_few: int
    """Groups with too few rows to be compared."""


def compare_groups(confusions: Mapping[str, Confusion], least: int = LEAST_ROWS) -> GroupFigures:
    """Compare groups by what was said of them.

    Groups of fewer than `least` rows are left out, and rates of fewer rows. The p-values are those of the chi-squared
    test of equal rates; for equalised odds twice the smaller one of its two. With more than two classes they are
    multiplied by the number of classes.

    >>> said = {"sex=f": np.array([[45, 5], [40, 10]]), "sex=m": np.array([[30, 20], [10, 40]])}
    >>> figures = compare_groups(said)
    >>> round(figures.demographic_parity, 3), round(figures.equalised_odds, 3), figures.rates["sex=f"]
    (0.45, 0.6, (0.15, 0.2, 0.1))
    """
    large = {name: confusion for name, confusion in confusions.items() if confusion.sum() >= least}
    width = len(next(iter(confusions.values()), np.zeros((2, 2))))
    classes = range(1, 2) if width == 2 else range(width)
    made = [_of_class(large, place, least) for place in classes]
    parity = max((each[0] for each in made), default=(0.0, 1.0), key=lambda pair: pair[0])
    odds = max((each[1] for each in made), default=(0.0, 1.0), key=lambda pair: pair[0])
    furthest = max(made, key=lambda each: max(each[0][0], each[1][0]))[2]
    return GroupFigures(
        parity[0],
        min(1.0, len(classes) * parity[1]),
        odds[0],
        min(1.0, len(classes) * odds[1]),
        furthest,
        int(sum(confusion.sum() for confusion in large.values())),
        len(confusions) - len(large),
    )


def confusion_of(happened: NDArray[np.int64], said: NDArray[np.int64], classes: int) -> Confusion:
    """The confusion matrix of two columns of classes' places; rows with a negative place are left out."""
    known = (happened >= 0) & (said >= 0)
    cells = np.bincount(happened[known] * classes + said[known], minlength=classes * classes)
    return cells.reshape(classes, classes).astype(np.int64)


def _of_class(
    groups: Mapping[str, Confusion], place: int, least: int
) -> tuple[tuple[float, float], tuple[float, float], dict[str, Rates]]:
    """Both differences, each with its p-value, and each group's rates."""
    counts = {name: class_rates(confusion, place) for name, confusion in groups.items()}
    every, true, other = (
        _apart([pair[kind] for pair in counts.values() if pair[kind][1] >= least]) for kind in range(3)
    )
    rates = {name: tuple(_share(*pair, least) for pair in pairs) for name, pairs in counts.items()}
    odds = max(true[0], other[0]), min(1.0, 2 * min(true[1], other[1]))
    return every, odds, {name: (each[0], each[1], each[2]) for name, each in rates.items()}


def class_rates(confusion: Confusion, place: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """How many rows were answered with the class, and how many there are: of all, where it is true, where it is not."""
    said, hit = int(confusion[:, place].sum()), int(confusion[place, place])
    total, of_class = int(confusion.sum()), int(confusion[place].sum())
    return (said, total), (hit, of_class), (said - hit, total - of_class)


def _apart(counts: list[tuple[int, int]]) -> tuple[float, float]:
    """The difference between the highest and the lowest rate, and its p-value."""
    from scipy.stats import chi2_contingency

    if len(counts) < 2:
        return 0.0, 1.0
    rates = [said / rows for said, rows in counts]
    table = np.array([(said, rows - said) for said, rows in counts])
    equal = bool((table.sum(axis=0) == 0).any())
    p_value = 1.0 if equal else float(chi2_contingency(table, correction=False).pvalue)
    return max(rates) - min(rates), p_value


def _share(said: int, rows: int, least: int) -> float:
    return said / rows if rows >= least else float("nan")
