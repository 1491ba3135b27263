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


class Evaluation:
    """Checks whose expressions are evaluated together; each must treat each row by itself."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self.checks = checks
        # Made once: to build expressions takes about as long as to evaluate them on a few rows.
        self._passes = [_passes(given).alias(str(i)) for i, given in enumerate(checks)]

    def outcomes(self, frame: pl.DataFrame) -> list[Outcome]:
        """Each check's outcome; a row for which its expression raises does not pass it."""
        if not self.checks:
            return []
        try:
            together = frame.select(self._passes)
        except FAILURES:
            return [_by_itself(frame, given) for given in self.checks]
        return [Outcome(column.to_numpy(), {}) for column in together.get_columns()]


def _by_itself(frame: pl.DataFrame, given: Check) -> Outcome:
    computed, raised = isolate(lambda part: part.select(_passes(given).alias("ok")), frame)
    ok = np.ones(frame.height, dtype=bool)
    ok[list(raised)] = False
    ok[ok] = computed["ok"].to_numpy()
    return Outcome(ok, raised)


def _passes(given: Check) -> pl.Expr:
    assert given.ok is not None
    return given.ok.fill_null(value=True)
