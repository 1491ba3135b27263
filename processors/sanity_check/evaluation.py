"""Computing checks over a batch so that an event can spoil only itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.isolation import FAILURES, isolate
from tidemill.processors.sanity_check.checks import Check


@dataclass(frozen=True)
class Outcome:
    """Which rows pass a check, and why it could not be computed for some of those that do not, by row."""

    ok: NDArray[np.bool_]
    raised: Mapping[int, str]


def evaluate(frame: pl.DataFrame, checks: Sequence[Check]) -> list[Outcome]:
    """Each check's outcome; a row for which its expression raises does not pass it.

    Every expression must treat each row by itself.
    """
    try:
        together = frame.select(_passes(given).alias(str(i)) for i, given in enumerate(checks))
    except FAILURES:
        return [_by_itself(frame, given) for given in checks]
    return [Outcome(together[str(i)].to_numpy(), {}) for i in range(len(checks))]


def _by_itself(frame: pl.DataFrame, given: Check) -> Outcome:
    computed, raised = isolate(lambda part: part.select(_passes(given).alias("ok")), frame)
    ok = np.ones(frame.height, dtype=bool)
    ok[list(raised)] = False
    ok[ok] = computed["ok"].to_numpy()
    return Outcome(ok, raised)


def _passes(given: Check) -> pl.Expr:
    assert given.ok is not None
    return given.ok.fill_null(value=True)
