"""All metrics of a candidate with their intervals, overall and by slice."""

from collections.abc import Mapping

import numpy as np

from tidemill.processors.training.gates.examination import Examination
from tidemill.processors.training.gates.groups import groups_of
from tidemill.processors.training.gates.metrics import Floats, answered, metrics_for
from tidemill.processors.training.gates.resampling import Estimate, estimates

WHOLE = "all"


def measures(
    given: Examination, scores: Floats | None = None, *, slices: bool = True
) -> Mapping[str, Mapping[str, Estimate]]:
    """The metrics by slice name, first of `all` rows; of the candidate, or of other `scores` of the same rows.

    Rows without an answer are left out, and slices of fewer than `least_slice` rows. Intervals are two-sided, at the
    declared confidence.
    """
    said = given.candidate if scores is None else scores
    kept = answered(said)
    every = given.of(said)
    parts = {WHOLE: np.arange(len(given.labels))}
    for field in given.gates.slices if slices else ():
        parts |= groups_of(given.columns, field, given.private)
    made: dict[str, Mapping[str, Estimate]] = {}
    for name, rows in parts.items():
        mine = rows[kept[rows]]
        if len(mine) >= (1 if name == WHOLE else given.gates.least_slice):
            rng = given.rng("measures", name)
            made[name] = estimates(
                metrics_for(given.target), every.take(mine), given.gates.confidence, given.gates.resamples, rng
            )
    return made
