"""The share of events that are rejected, against the windows before."""

import json
from collections.abc import Mapping
from typing import Any

from tidemill.processors.drift.declaration import Drift, severity_of
from tidemill.processors.drift.findings import compare_rejections
from tidemill.processors.drift.incident import Alarm, Offsets, Span
from tidemill.processors.drift.profile import Profile
from tidemill.processors.drift.rates import Rate
from tidemill.processors.drift.verdict import Judgement
from tidemill.processors.drift.wording import percent

_MOST_SPANS = 64
_REMEMBERED = 14
"""Windows: what is older counts half as much for each time that so many more have come."""
_FEWEST_ROWS = 100


class Rejections:
    """No model is made of rejections, so what is usual is learnt: the share in the windows before, by slice.

    A window that brings an alarm is not learnt from, unless it is one of as many in a row as are remembered: then it
    has become usual.
    """

    def __init__(self, declared: Drift) -> None:
        self._declared = declared
        self._answered: dict[int, dict[str, int]] = {}
        self._usual: dict[str, list[float]] = {}
        self._unusual: dict[str, int] = {}

    def answered(self, span: Span, rows: Mapping[str, int]) -> None:
        """How many events of a window were good, by slice; this comes before the window's rejections."""
        self._answered[span.end] = dict(rows)
        for name, count in rows.items():
            # Not rejected; how many were, if any, is added when their window is judged.
            hits, total, windows = self._usual.get(name, [0.0, 0.0, 0.0])
            if windows >= _REMEMBERED:
                hits, total, windows = hits / 2, total / 2, windows / 2
            self._usual[name] = [hits, total + count, windows + 1]
        for old in sorted(self._answered)[:-_MOST_SPANS]:
            del self._answered[old]

    def window(self, span: Span, now: Mapping[str, Profile], offsets: Offsets) -> Judgement:
        """The rejections of a window."""
        alarms, covered = [], set()
        for name, profile in now.items():
            good = self._answered.get(span.end, {}).get(name, 0)
            rate = Rate(profile.rows, profile.rows + good)
            hits, total, windows = self._usual.get(name, [0.0, 0.0, 0.0])
            # This window's good rows are among the total.
            usual_parts = hits, max(total - good, hits)
            usual = Rate(round(usual_parts[0]), round(usual_parts[1]))
            alarm = None
            if usual.rows >= _FEWEST_ROWS:
                covered.add(("rejection_rate", name))
                alarm = self._alarm(name, usual, rate, profile)
            self._unusual[name] = self._unusual.get(name, 0) + 1 if alarm is not None else 0
            learnt = alarm is None or self._unusual[name] > _REMEMBERED
            self._usual[name] = (
                [hits + profile.rows, total + profile.rows, windows] if learnt else [*usual_parts, windows]
            )
            if alarm is not None:
                alarms.append(alarm)
        return Judgement(alarms, covered, offsets)

    def _alarm(self, name: str, usual: Rate, rate: Rate, profile: Profile) -> Alarm | None:
        finding = compare_rejections(usual, rate, threshold=self._declared.threshold)
        if not finding.alarm:
            return None
        reasons = {column: dict(sketch.top()) for column, sketch in profile.categories.items()}
        return Alarm(
            kind="rejection_rate",
            subject=finding.subject,
            slice=name,
            detector=finding.detector,
            severity=severity_of(finding.effect, finding.threshold),
            statistic=finding.statistic,
            threshold=finding.threshold,
            message=(
                f"{percent(rate.share)} of {rate.rows:,} events were rejected; in the windows before it was"
                f" {percent(usual.share)}."
            ),
            effect=finding.effect,
            evidence=json.dumps({"before": vars(usual), "now": vars(rate), "reasons": reasons}),
        )

    def saved(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {"answered": list(self._answered.items()), "usual": self._usual, "unusual": self._unusual}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Begin with what was saved."""
        self._answered = {end: dict(rows) for end, rows in saved["answered"]}
        self._usual, self._unusual = dict(saved["usual"]), dict(saved["unusual"])
