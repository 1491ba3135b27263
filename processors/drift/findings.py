"""A profile against its reference: what has drifted, by how much, and whether that is worth an alarm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tidemill.processors.drift.bins import Sketch
from tidemill.processors.drift.distances import Comparison, distance_named
from tidemill.processors.drift.false_discovery import benjamini_hochberg
from tidemill.processors.drift.profile import Profile
from tidemill.processors.drift.rates import THRESHOLD, Rate, compare_rates

FindingKind = Literal[
    "data_drift",
    "prediction_drift",
    "concept_drift",
    "missing_rate",
    "rejection_rate",
    "estimated_performance",
    "fairness",
]
FALSE_DISCOVERY_RATE = 0.001
_KINDS: Mapping[str, FindingKind] = {
    "features": "data_drift",
    "predictions": "prediction_drift",
    "outcomes": "concept_drift",
}


@dataclass(frozen=True)
class Finding:
    """What one test says of one column.

    `p_value` is adjusted for all tests of the comparison, and None where a test has none. There is an `alarm` if it
    is at most the false discovery rate (or None) and the effect's magnitude reaches the threshold.
    """

    kind: FindingKind
    subject: str
    detector: str
    statistic: float
    p_value: float | None
    effect: float
    threshold: float
    alarm: bool = False


def compare_profiles(
    reference: Profile,
    now: Profile,
    distances: Mapping[str, float | None] | Sequence[str] = ("psi",),
    *,
    missing: float | None = THRESHOLD,
    rate: float = FALSE_DISCOVERY_RATE,
) -> list[Finding]:
    """Compare two profiles and judge what was found: `compared`, then `judged`.

    `distances` may give each one's threshold. `missing` is the threshold for missing values (Cohen's h); None leaves
    them out. `rate` is the false discovery rate over all of these tests. Of two probabilities, which mirror each
    other, one is compared.

    Raises:
        DeclarationError: there is no such distance.

    """
    return judged(compared(reference, now, distances, missing=missing), rate)


def compared(
    reference: Profile,
    now: Profile,
    distances: Mapping[str, float | None] | Sequence[str] = ("psi",),
    *,
    missing: float | None = THRESHOLD,
) -> list[Finding]:
    """Compare every column that both profiles have, by every distance that takes it, and its share of missing values.

    The findings are without a verdict, and their p-values as they come: `judged` takes those of several comparisons.
    """
    named = distances if isinstance(distances, Mapping) else dict.fromkeys(distances)
    chosen = [(distance_named(name), threshold) for name, threshold in named.items()]
    found = []
    for column, then, later in _columns(reference, now):
        for distance, threshold in chosen:
            if distance.categories or column in reference.numbers:
                least = distance.threshold if threshold is None else threshold
                made = distance.compare(then, later)
                found.append(_finding(_KINDS[reference.kind], column, distance.name, made, least))
        if missing is not None:
            made = compare_rates(Rate(then.missing, then.rows), Rate(later.missing, later.rows))
            found.append(_finding("missing_rate", column, "two_proportions", made, missing))
    return found


def compare_rejections(
    reference: Rate, now: Rate, *, threshold: float = THRESHOLD, rate: float = FALSE_DISCOVERY_RATE
) -> Finding:
    """Compare the shares of events that were rejected."""
    made = compare_rates(reference, now)
    return judged([_finding("rejection_rate", "rejected", "two_proportions", made, threshold)], rate)[0]


def judged(findings: Sequence[Finding], rate: float = FALSE_DISCOVERY_RATE) -> list[Finding]:
    """The findings with p-values adjusted for their number, and the verdict."""
    tested = [finding.p_value for finding in findings if finding.p_value is not None]
    adjusted = iter(benjamini_hochberg(tested))
    verdicts = []
    for finding in findings:
        p_value = None if finding.p_value is None else next(adjusted)
        significant = p_value is None or p_value <= rate
        alarm = significant and abs(finding.effect) >= finding.threshold
        verdicts.append(replace(finding, p_value=p_value, alarm=alarm))
    return verdicts


def _finding(kind: FindingKind, subject: str, detector: str, made: Comparison, threshold: float) -> Finding:
    return Finding(kind, subject, detector, made.statistic, made.p_value, made.effect, threshold)


def _columns(reference: Profile, now: Profile) -> list[tuple[str, Sketch, Sketch]]:
    pairs: list[tuple[str, Sketch, Sketch]] = []
    pairs += [(name, sketch, now.numbers[name]) for name, sketch in reference.numbers.items() if name in now.numbers]
    probabilities = [name for name, _, _ in pairs if name.startswith("probability_")]
    if reference.kind == "predictions" and len(probabilities) == 2:
        pairs = [pair for pair in pairs if pair[0] != min(probabilities)]
    categories = reference.categories.items()
    pairs += [(name, sketch, now.categories[name]) for name, sketch in categories if name in now.categories]
    return pairs
