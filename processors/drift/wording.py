"""Findings in words, and what they were seen by, for people: sentences, and summaries of both sketches as JSON."""

import json
from typing import Any

from tidemill.processors.drift.findings import Finding
from tidemill.processors.drift.profile import Profile
from tidemill.processors.drift.summary import category_summary, number_summary

_TELLING_SHARE = 0.001
_MOST_CATEGORIES = 1_000


def sentence(finding: Finding, reference: Profile, now: Profile) -> str:
    """What was found, in one sentence."""
    name = finding.subject
    if finding.kind == "missing_rate":
        return (
            f"{name} is missing in {percent(missing_share(now, name))} of {now.rows:,} rows;"
            f" in the reference, in {percent(missing_share(reference, name))}."
        )
    said = f"{finding.detector} {finding.effect:.2f}, an alarm from {finding.threshold:.2f} on"
    most = _most(name, reference, now)
    return f"{name} is distributed otherwise than in the reference ({said}; {now.rows:,} rows): {most}."


def evidence(subject: str, reference: Profile, now: Profile) -> str:
    """Both sketches of a column in a few figures, as JSON."""
    return json.dumps({"reference": _summary(subject, reference), "now": _summary(subject, now)})


def missing_share(profile: Profile, column: str) -> float:
    """The share of rows in which a column is missing."""
    sketch = profile.numbers[column] if column in profile.numbers else profile.categories[column]
    return sketch.missing / sketch.rows if sketch.rows else 0.0


def _summary(column: str, profile: Profile) -> dict[str, Any]:
    if column in profile.numbers:
        return number_summary(profile.numbers[column])
    return category_summary(profile.categories[column])


def _most(name: str, reference: Profile, now: Profile) -> str:
    """What has changed most."""
    if name in reference.numbers:
        then, later = reference.numbers[name], now.numbers[name]
        return f"its median is {later.quantile(0.5):.4g} and was {then.quantile(0.5):.4g}"
    then_shares, later_shares = _shares(reference, name), _shares(now, name)
    known = sorted({*then_shares, *later_shares})
    most = max(known, key=lambda each: abs(later_shares.get(each, 0.0) - then_shares.get(each, 0.0)))
    return f"{most!r} has {percent(later_shares.get(most, 0.0))} and had {percent(then_shares.get(most, 0.0))}"


def _shares(profile: Profile, name: str) -> dict[str, float]:
    sketch = profile.categories[name]
    return {category: count / sketch.count for category, count in sketch.top(_MOST_CATEGORIES)}


def percent(share: float) -> str:
    """A share as people read it."""
    return f"{100 * share:.1f} %" if share == 0 or share >= _TELLING_SHARE else f"{100 * share:.3f} %"
