"""Splits of a history by time: what was known at a moment, and what came after it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.schemas.errors import ModelError

Fold = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The rows to fit on and the rows to measure on, as places in a table."""


def time_folds(event_time: NDArray[Any], label_time: NDArray[Any], n: int) -> list[Fold]:
    """At most `n` folds that grow with time, as forward chaining (rolling origin evaluation) has them.

    The history is cut by event time into n + 1 stretches with about as many rows. A fold measures on one stretch
    and fits on all rows before it whose label was known when the stretch began. Rows of one time stay together. A fold
    that would have nothing to fit or to measure on is left out. Times are numbers or numpy's, in one unit; a label
    time of null (NaT, NaN) is one that never was.

    >>> event, label = np.arange(6), np.arange(6) + 1
    >>> [(fit.tolist(), measure.tolist()) for fit, measure in time_folds(event, label, 2)]
    [([0, 1], [2, 3]), ([0, 1, 2, 3], [4, 5])]
    >>> [(fit.tolist(), measure.tolist()) for fit, measure in time_folds(event, event + 2, 2)]
    [([0], [2, 3]), ([0, 1, 2], [4, 5])]
    """
    if n < 1:
        raise ModelError(f"time_folds: expected one fold at least, got {n}")
    event, label = np.asarray(event_time), np.asarray(label_time)
    if len(event) != len(label):
        raise ModelError(f"time_folds: expected as many label times as event times, got {len(label)} and {len(event)}")
    if not len(event):
        return []
    ordered = np.sort(event)
    cuts = np.unique(ordered[[len(event) * k // (n + 1) for k in range(1, n + 1)]])
    folds: list[Fold] = []
    for place, start in enumerate(cuts):
        after = event >= start
        if place + 1 < len(cuts):
            after &= event < cuts[place + 1]
        fit = np.flatnonzero((event < start) & (label <= start))
        if len(fit) and after.any():
            folds.append((fit, np.flatnonzero(after)))
    return folds


def checked(folds: Sequence[Fold], rows: int) -> list[Fold]:
    """The caller's folds as arrays of places; raises ModelError if a place is not in the table, or in both parts."""
    made: list[Fold] = []
    for number, (fit, measure) in enumerate(folds):
        pair = np.asarray(fit, dtype=np.int64), np.asarray(measure, dtype=np.int64)
        for part in pair:
            if len(part) and not (part.min() >= 0 and part.max() < rows):
                raise ModelError(f"fold {number}: expected places from 0 to {rows - 1}, got {part.min()}–{part.max()}")
        if len(np.intersect1d(*pair)):
            raise ModelError(f"fold {number} fits and measures on the same rows: {len(np.intersect1d(*pair))} of them")
        made.append(pair)
    return made
