"""Whether scores mean what they say: of what gets 30 %, three in ten should happen."""

import numpy as np
from numpy.random import Generator

from tidemill.processors.training.gates.examination import Examination
from tidemill.processors.training.gates.metrics import (
    BINS,
    Answers,
    Floats,
    calibration_bins,
    calibration_error,
    calibration_terms,
)
from tidemill.processors.training.gates.verdict import GateResult

_DRAWS = 500
_MOST_CELLS = 4_000_000


def calibration_gate(given: Examination) -> GateResult:
    """Whether the expected calibration error is within its limit, or chance alone may give it.

    Even perfect scores have an error on few rows. Its distribution comes from outcomes drawn from the scores
    themselves (consistency resampling: Bröcker and Smith, 2007).
    """
    limit = given.gates.calibration
    assert limit is not None
    mine = given.of(given.candidate).take(np.flatnonzero(given.answered))
    if not len(mine.actual):
        return GateResult("calibration", False, {"rows": 0, "limit": limit}, "The candidate has answered no row.")
    error = float(calibration_error(calibration_terms(mine).sum(axis=0)))
    chance = errors_by_chance(mine, _DRAWS, given.rng("calibration"))
    p_value = float((1 + np.count_nonzero(chance >= error)) / (1 + len(chance)))
    usual = float(np.mean(chance))
    figures = {
        "calibration_error": error,
        "limit": limit,
        "p_value": p_value,
        "by_chance": usual,
        "rows": len(mine.actual),
    }
    beyond = error > limit and p_value <= 1 - given.gates.confidence
    said = f"The expected calibration error is {error:.4f} on {len(mine.actual):,} rows"
    if beyond:
        said = f"{said}, beyond the limit of {limit:g}; perfect scores would have {usual:.4f}, p {p_value:.2g}."
    elif error > limit:
        said = f"{said}; on so few, chance alone may bring it above the limit of {limit:g} (p {p_value:.2g})."
    else:
        said = f"{said}, within the limit of {limit:g}."
    return GateResult("calibration", not beyond, figures, said)


def errors_by_chance(given: Answers, draws: int, rng: Generator) -> Floats:
    """Calibration errors of the same scores on outcomes drawn from them: what perfect scores would have."""
    said, _ = given.confidence
    bins = np.eye(BINS)[calibration_bins(said)]
    at_once = max(1, _MOST_CELLS // max(1, len(said)))
    drawn = np.empty((draws, BINS))
    for start in range(0, draws, at_once):
        happened = rng.random((min(at_once, draws - start), len(said))) < said
        drawn[start : start + at_once] = (said - happened) @ bins
    errors: Floats = np.abs(drawn).sum(axis=1) / max(1, len(said))
    return errors
