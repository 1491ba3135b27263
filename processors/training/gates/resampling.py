"""Noise: how much a metric, or the difference of two models, would differ on other rows of the same kind.

Rows that follow each other in time are alike, so blocks of them are drawn, not single rows: the circular block
bootstrap (Politis and Romano, 1992), with blocks of the cube root of the number of rows.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray

from tidemill.processors.training.gates.metrics import Answers, Floats, Metric

RESAMPLES = 2_000
_MOST_CELLS = 4_000_000


@dataclass(frozen=True)
class Estimate:
    """A metric, and the interval that holds it at the declared confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


@dataclass(frozen=True)
class Difference:
    """By how much one model is better than another on the same rows, in the metric's unit; below 0 it is worse.

    `low` and `high` are one-sided bounds, each at the given confidence. `p_better` is how often chance alone would
    give such a gain or a larger one, `p_worse` such a loss.
    """

    gain: float
    low: float
    high: float
    p_better: float
    p_worse: float


def generator(seed: int, *names: str) -> Generator:
    """Chance that depends on the seed and on what it is for, never on what was drawn for other things before."""
    return Generator(Philox(SeedSequence([seed, *(zlib.crc32(name.encode()) for name in names)])))


def block_length(rows: int) -> int:
    """How many rows, one after the other, are drawn together."""
    return max(1, round(float(np.cbrt(rows))))


def resampled(terms: Floats, resamples: int, rng: Generator) -> Floats:
    """Sums of the terms (rows x terms) over resamples of the rows in blocks: resamples x terms.

    A resample has as many blocks as cover the rows, so it may be a little longer: values must be quotients of sums.
    """
    rows, width = terms.shape
    length = block_length(rows)
    blocks = -(-rows // length)
    wrapped = np.concatenate([np.zeros((1, width)), terms, terms[: length - 1]]).cumsum(axis=0)
    sums = wrapped[length:] - wrapped[:-length]
    at_once = max(1, _MOST_CELLS // (blocks * width))
    drawn = np.empty((resamples, width))
    for start in range(0, resamples, at_once):
        places = rng.integers(0, rows, (min(at_once, resamples - start), blocks))
        drawn[start : start + at_once] = sums[places].sum(axis=1)
    return drawn


def estimates(
    metrics: Sequence[Metric], answers: Answers, confidence: float, resamples: int, rng: Generator
) -> dict[str, Estimate]:
    """Each metric with its two-sided interval, from the quantiles of resamples that are the same for all of them."""
    terms = [metric.terms(answers) for metric in metrics]
    ends = np.cumsum([0, *(part.shape[1] for part in terms)])
    drawn = resampled(np.concatenate(terms, axis=1), resamples, rng)
    made = {}
    for metric, part, first, last in zip(metrics, terms, ends[:-1], ends[1:], strict=True):
        values = metric.value(drawn[:, first:last])
        low, high = _quantiles(values, (1 - confidence) / 2)
        made[metric.name] = Estimate(float(metric.value(part.sum(axis=0))), low, high)
    return made


def difference(
    metric: Metric, ours: Answers, theirs: Answers, confidence: float, resamples: int, rng: Generator
) -> Difference:
    """Compare two models on the same rows, resampled together.

    p-values are those of Student's t with the resamples' standard error and one degree of freedom less than there are
    blocks, or the share of resamples that are as far from the observed gain as that is from 0, whichever is larger.
    """
    from scipy.stats import t as student

    mine, other = metric.terms(ours), metric.terms(theirs)
    drawn = resampled(np.concatenate([mine, other], axis=1), resamples, rng)
    width = mine.shape[1]
    gain = float(metric.gain(metric.value(mine.sum(axis=0)) - metric.value(other.sum(axis=0))))
    values: Floats = metric.gain(metric.value(drawn[:, :width]) - metric.value(drawn[:, width:]))
    values = values[np.isfinite(values)]
    if not np.isfinite(gain) or not len(values):
        return Difference(np.nan, np.nan, np.nan, 1.0, 1.0)
    rows = len(mine)
    freedom = max(1, -(-rows // block_length(rows)) - 1)
    error = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    reach = float(student.ppf(confidence, freedom)) * error
    noise = values - gain
    return Difference(
        gain, gain - reach, gain + reach, _p_value(gain, error, freedom, noise), _p_value(-gain, error, freedom, -noise)
    )


def _p_value(gain: float, error: float, freedom: int, noise: Floats) -> float:
    from scipy.stats import t as student

    if gain <= 0:
        return 1.0 if error == 0 else float(student.sf(gain / error, freedom))
    beyond = float(np.mean(noise >= gain))
    return beyond if error == 0 else max(beyond, float(student.sf(gain / error, freedom)))


def _quantiles(values: Floats, tail: float) -> tuple[float, float]:
    known: NDArray[np.float64] = values[np.isfinite(values)]
    if not len(known):
        return np.nan, np.nan
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)
