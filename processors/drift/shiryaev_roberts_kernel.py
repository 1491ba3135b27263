"""The compiled loop of the Shiryaev-Roberts detector; `shiryaev_roberts` owns the arrays and says what they mean.

For every level of the baseline on a grid: its posterior probability, and for every ratio of change the sum, over all
rows at which the change may have begun, of the likelihood ratio of the rows since; beside the sum its largest term, and
where that began (Page, Biometrika, 1954). All are exact recursions, so a row or a block of rows costs the same, however
many came before.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

# The registers: rows and their total since the baseline began; the evidence of both directions; the part of the grid
# that still counts; the dispersion; rows ever seen.
ROWS, TOTAL, RISEN, FALLEN, FIRST, LAST, DISPERSION, SEEN = range(8)
REGISTERS = 8
# Per scale of the dispersion: rows and total of the open batch; those of the batch before; the sum of squared
# standardised differences between batches that follow each other, and their number.
OPEN_ROWS, OPEN_TOTAL, LAST_ROWS, LAST_TOTAL, SQUARES, PAIRS = range(6)
SCALE_FIELDS = 6
SCALES = 13

SETTLED = 32
"""Rows after which the mean level is good enough to standardise by."""
_NEGLIGIBLE = 1e-20
_LARGEST_EXPONENT = 600.0
_FEWEST_PAIRS = 16
_LEAST_DISPERSION = 0.1

_Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def advance(
    totals: _Floats,
    rows: _Floats,
    slopes: _Floats,
    offsets: _Floats,
    weights: _Floats,
    rising: int,
    limits: tuple[float, float],
    bernoulli: bool,
    posterior: _Floats,
    ratios: _Floats,
    peaks: _Floats,
    origins: _Floats,
    scales: _Floats,
    registers: _Floats,
) -> int:
    """Take blocks until one brings an alarm; how many were taken.

    The logarithm of the density of a block (total, rows) is total * slope + rows * offset, over the dispersion; index
    0 of `slopes` and `offsets` is the baseline, 1 + k the k-th change. The first `rising` of the changes are rises.
    """
    for i in range(len(totals)):
        total, count = totals[i], rows[i]
        if count <= 0.0:
            continue
        if not bernoulli and registers[ROWS] >= SETTLED:
            # One block of losses counts no more than its mean and four standard deviations: an outlier is no change.
            level = registers[TOTAL] / registers[ROWS]
            total = min(total, level * (count + 4.0 * math.sqrt(max(registers[DISPERSION], 1.0) * count)))
        _disperse(total, count, bernoulli, scales, registers)
        _learn(total, count, slopes, offsets, posterior, ratios, peaks, origins, registers)
        registers[ROWS] += count
        registers[TOTAL] += total
        registers[SEEN] += count
        _judge(weights, rising, posterior, ratios, registers)
        if registers[RISEN] >= limits[0] or registers[FALLEN] >= limits[1]:
            return i + 1
    return len(totals)


@njit(cache=True, nogil=True)
def _learn(
    total: float,
    count: float,
    slopes: _Floats,
    offsets: _Floats,
    posterior: _Floats,
    ratios: _Floats,
    peaks: _Floats,
    origins: _Floats,
    registers: _Floats,
) -> None:
    first, last = int(registers[FIRST]), int(registers[LAST])
    total /= registers[DISPERSION]
    scaled = count / registers[DISPERSION]
    best = -np.inf
    for g in range(first, last):
        best = max(best, total * slopes[0, g] + scaled * offsets[0, g])
    mass = 0.0
    for g in range(first, last):
        posterior[g] *= math.exp(total * slopes[0, g] + scaled * offsets[0, g] - best)
        mass += posterior[g]
    for g in range(first, last):
        posterior[g] /= mass
    for k in range(len(ratios)):
        for g in range(first, last):
            gain = total * (slopes[k + 1, g] - slopes[0, g]) + scaled * (offsets[k + 1, g] - offsets[0, g])
            factor = math.exp(min(gain, _LARGEST_EXPONENT))
            # Each of the block's rows may be the first changed one; all are taken to be its first.
            ratios[k, g] = (ratios[k, g] + count) * factor
            if peaks[k, g] <= 1.0:
                peaks[k, g], origins[k, g] = 1.0, registers[SEEN]
            peaks[k, g] *= factor
    while last - first > 1 and posterior[first] < _NEGLIGIBLE:
        posterior[first] = 0.0
        ratios[:, first] = peaks[:, first] = origins[:, first] = 0.0
        first += 1
    while last - first > 1 and posterior[last - 1] < _NEGLIGIBLE:
        last -= 1
        posterior[last] = 0.0
        ratios[:, last] = peaks[:, last] = origins[:, last] = 0.0
    registers[FIRST], registers[LAST] = first, last


@njit(cache=True, nogil=True)
def _judge(weights: _Floats, rising: int, posterior: _Floats, ratios: _Floats, registers: _Floats) -> None:
    risen = fallen = 0.0
    for g in range(int(registers[FIRST]), int(registers[LAST])):
        for k in range(len(ratios)):
            if k < rising:
                risen += posterior[g] * weights[k, g] * ratios[k, g]
            else:
                fallen += posterior[g] * weights[k, g] * ratios[k, g]
    registers[RISEN], registers[FALLEN] = risen, fallen


@njit(cache=True, nogil=True)
def _disperse(total: float, count: float, bernoulli: bool, scales: _Floats, registers: _Floats) -> None:
    """Compare batches that follow each other, of 1, 2, 4, … rows, with what independent rows would differ by."""
    if registers[ROWS] < SETTLED:
        return
    level = registers[TOTAL] / registers[ROWS]
    unit = level * (1.0 - level) if bernoulli else level * level
    if unit <= 0.0:
        return
    changed = False
    for s in range(len(scales)):
        scale = scales[s]
        scale[OPEN_ROWS] += count
        scale[OPEN_TOTAL] += total
        if scale[OPEN_ROWS] < 2**s:
            continue
        if scale[LAST_ROWS] > 0.0:
            gap = scale[OPEN_TOTAL] / scale[OPEN_ROWS] - scale[LAST_TOTAL] / scale[LAST_ROWS]
            scale[SQUARES] += gap * gap / (unit * (1.0 / scale[OPEN_ROWS] + 1.0 / scale[LAST_ROWS]))
            scale[PAIRS] += 1.0
            changed = True
        scale[LAST_ROWS], scale[LAST_TOTAL] = scale[OPEN_ROWS], scale[OPEN_TOTAL]
        scale[OPEN_ROWS] = scale[OPEN_TOTAL] = 0.0
    if not changed:
        return
    # Errors are at least as dispersed as independent ones; losses as single rows say, and surely less than two standard
    # errors more.
    found = 1.0
    if not bernoulli and scales[0, PAIRS] >= _FEWEST_PAIRS:
        unsure = 1.0 + 2.0 * math.sqrt(3.0 / scales[0, PAIRS])
        found = max(_LEAST_DISPERSION, unsure * scales[0, SQUARES] / scales[0, PAIRS])
    for s in range(len(scales)):
        if scales[s, PAIRS] >= _FEWEST_PAIRS:
            # Two standard errors below the estimate: neighbouring differences share a batch, hence 3 and not 2.
            sure = 1.0 - 2.0 * math.sqrt(3.0 / scales[s, PAIRS])
            found = max(found, sure * scales[s, SQUARES] / scales[s, PAIRS])
    registers[DISPERSION] = found
