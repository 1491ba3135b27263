"""Predictions against what happened, in one pass: the compiled loops of `quality`."""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tidemill.processors.drift.sum_kernel import add

SCORE_BINS = 1_000
CALIBRATION_BINS = 20
LEAST = 1e-15
"""The least probability that the log-loss takes a class to have."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def score_classes(
    scores: Floats, actual: Ints, rows: Ints, terms: Floats, histogram: Ints, confusion: Ints, bins: Ints
) -> None:
    """Fill `terms` (3 × rows: log-loss, Brier, the score that is calibrated) and its calibration bins, and count.

    `actual` are the classes' places in `scores`; only `rows` are looked at.

    With two classes the score is the second one's probability, and it hits when that is what happened; with more it is
    the greatest one, and it hits when its class is what happened.
    """
    classes = scores.shape[1]
    for place in range(len(rows)):
        row = rows[place]
        happened, said = actual[row], 0
        total, brier = 0.0, 0.0
        for k in range(classes):
            p = scores[row, k]
            total += min(max(p, LEAST), 1.0)
            brier += (p - (k == happened)) ** 2
            if p > scores[row, said]:
                said = k
        chance = min(max(scores[row, happened], LEAST), 1.0)
        # Probabilities mostly add up to 1, whose logarithm need not be taken.
        terms[0, place] = -math.log(chance) if total == 1.0 else math.log(total) - math.log(chance)
        if classes == 2:
            terms[1, place] = brier / 2
            score, hit = scores[row, 1], happened == 1
        else:
            terms[1, place] = brier
            score, hit = scores[row, said], happened == said
        score = min(max(score, 0.0), 1.0)
        terms[2, place] = score
        score_bin = min(int(score * SCORE_BINS), SCORE_BINS - 1)
        histogram[score_bin, int(hit)] += 1
        bins[place] = score_bin // (SCORE_BINS // CALIBRATION_BINS)
        confusion[happened, said] += 1


@njit(cache=True, nogil=True)
def sum_by_bin(bits: Ints, bins: Ints, chunks: Ints) -> None:
    """Add doubles, given as their bits, exactly to the sum of their bin."""
    for i in range(len(bits)):
        add(chunks[bins[i]], bits[i])
