"""How good predictions probably are before their labels come: confidence-based performance estimation (CBPE).

As NannyML describes it: a calibrated probability says how often a prediction is right, so the probabilities alone
give the expected accuracy, log-loss, Brier score and AUC. The calibration is that of the model's own evaluation, from
its reference. It sees that events have become harder. It cannot see that the same events turn out otherwise (concept
drift): for that there are labels, and the figures are marked as estimates.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.drift.findings import FALSE_DISCOVERY_RATE, Finding, judged
from tidemill.processors.drift.number_sketch import NumberSketch, code_of
from tidemill.processors.drift.profile import CONFIDENCE, Profile
from tidemill.processors.drift.quality import ClassQuality, area_under_curve
from tidemill.processors.drift.quality_kernel import LEAST, SCORE_BINS
from tidemill.schemas.errors import DeclarationError

if TYPE_CHECKING:
    from tidemill.processors.online_inference.target import Target

TRUST = 10
"""A calibration bin counts as if so many more rows had come as its scores say: few rows do not say much."""
THRESHOLD = 0.2
"""By which share of what it was in the evaluation a loss must have changed to count."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """Expected metrics of predictions whose labels are not known, and the standard errors of those that are means."""

    rows: int
    metrics: Mapping[str, float]
    errors: Mapping[str, float]
    estimated: bool = True


def estimate(reference: ClassQuality, predictions: Profile, target: "Target") -> Estimate:
    """The expected quality of the predictions that a profile sums up, by the calibration of the reference.

    Two classes: log_loss, brier, accuracy and auc. More: accuracy, from the greatest probabilities; the others would
    need the probabilities side by side. Nothing of no rows.

    Raises:
        DeclarationError: the target is a number, which has no probability.

    """
    if not target.classes:
        raise DeclarationError("performance is estimated from probabilities; a regression has none")
    if len(target.classes) > 2:
        return _of_confidence(reference, predictions.numbers[CONFIDENCE])
    negative, positive = (predictions.numbers[name] for name in target.columns())
    scores, counts = _scores(negative, positive)
    return _of_scores(scores, counts, calibrated(reference, scores))


def compare_estimate(
    reference: ClassQuality, now: Estimate, *, threshold: float = THRESHOLD, rate: float = FALSE_DISCOVERY_RATE
) -> Finding:
    """The expected loss against that of the evaluation: log-loss for two classes, else the share of wrong answers.

    The effect is the relative change, positive for the worse; the p-value is that of a z-test of both means.
    """
    from scipy import special

    metrics = reference.metrics()
    if "log_loss" in now.metrics and metrics:
        name, was, later = "log_loss", metrics["log_loss"], now.metrics["log_loss"]
        scores = (np.arange(SCORE_BINS) + 0.5) / SCORE_BINS
        squares = reference.histogram[:, 1] @ np.log(scores) ** 2 + reference.histogram[:, 0] @ np.log1p(-scores) ** 2
        variance = max(float(squares) / reference.rows - was**2, 0.0)
    elif "accuracy" in now.metrics and metrics:
        name, was, later = "accuracy", 1 - metrics["accuracy"], 1 - now.metrics["accuracy"]
        variance = was * (1 - was)
    else:
        return Finding("estimated_performance", "log_loss", "cbpe", 0.0, None, 0.0, threshold)
    error = math.hypot(now.errors[name], math.sqrt(variance / reference.rows))
    z = (later - was) / error if error else 0.0
    effect = (later - was) / was if was else 0.0
    made = Finding("estimated_performance", name, "cbpe", z, float(2 * special.ndtr(-abs(z))), effect, threshold)
    return judged([made], rate)[0]


def calibrated(reference: ClassQuality, scores: Floats) -> Floats:
    """How often predictions of these scores hit, by the reference's calibration bins, straight lines between them."""
    counts, means, shares = reference.calibration()
    used = counts > 0
    corrections = (shares - means)[used] * counts[used] / (counts[used] + TRUST)
    shift = np.interp(scores, [0.0, *means[used], 1.0], [0.0, *corrections, 0.0])
    chances: Floats = np.clip(scores + shift, 0.0, 1.0)
    return chances


def _scores(negative: NumberSketch, positive: NumberSketch) -> tuple[Floats, Floats]:
    """The second class's probabilities, rising, with their counts.

    Both sketches tell of the same rows, and each is exact to 1 % near 0: so each gives its lower half, the second one
    what is below 1/2 and the first one what is above. The rest stands at 1/2.
    """
    half = code_of(0.5)
    codes, low, low_counts = positive.points()
    low, low_counts = low[codes < half], low_counts[codes < half]
    codes, high, high_counts = negative.points()
    high, high_counts = high[codes < half], high_counts[codes < half]
    rest = max(positive.count - int(low_counts.sum()) - int(high_counts.sum()), 0)
    scores = np.concatenate([low, [0.5], 1 - high[::-1]])
    return np.clip(scores, 0.0, 1.0), np.concatenate([low_counts, [rest], high_counts[::-1]]).astype(np.float64)


def _of_scores(scores: Floats, counts: Floats, chances: Floats) -> Estimate:
    rows = float(counts.sum())
    if not rows:
        return Estimate(0, {}, {})
    weights = counts / rows
    hit, miss = -np.log(np.clip(scores, LEAST, 1.0)), -np.log(np.clip(1 - scores, LEAST, 1.0))
    right = np.where(scores > 0.5, 1.0, 0.0)
    losses = {"log_loss": (hit, miss), "brier": ((1 - scores) ** 2, scores**2), "accuracy": (right, 1 - right)}
    metrics, errors = {}, {}
    for name, (if_hit, if_miss) in losses.items():
        mean = float(weights @ (chances * if_hit + (1 - chances) * if_miss))
        square = float(weights @ (chances * if_hit**2 + (1 - chances) * if_miss**2))
        metrics[name] = mean
        errors[name] = math.sqrt(max(square - mean**2, 0.0) / rows)
    hits, misses = counts * chances, counts * (1 - chances)
    if hits.sum() and misses.sum():
        metrics["auc"] = area_under_curve(misses, hits)
    return Estimate(int(rows), metrics, errors)


def _of_confidence(reference: ClassQuality, confidence: NumberSketch) -> Estimate:
    if not confidence.count:
        return Estimate(0, {}, {})
    _, scores, counts = confidence.points()
    accuracy = float(calibrated(reference, np.clip(scores, 0.0, 1.0)) @ counts / confidence.count)
    error = math.sqrt(accuracy * (1 - accuracy) / confidence.count)
    return Estimate(confidence.count, {"accuracy": accuracy}, {"accuracy": error})
