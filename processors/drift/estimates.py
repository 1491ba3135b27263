"""Alarms on performance that is expected from scores alone, before labels come."""

import json

from tidemill.processors.drift.declaration import Drift, severity_of
from tidemill.processors.drift.estimated_performance import compare_estimate, estimate
from tidemill.processors.drift.incident import Alarm
from tidemill.processors.drift.profile import Profile
from tidemill.processors.drift.quality import ClassQuality
from tidemill.processors.online_inference.target import Target


def estimated_alarm(
    declared: Drift, evaluated: ClassQuality, predictions: Profile, target: Target, version: str
) -> Alarm | None:
    """The alarm on a window of predictions in a slice; a loss that is expected to fall is none."""
    now = estimate(evaluated, predictions, target)
    finding = compare_estimate(evaluated, now, threshold=declared.threshold)
    if not finding.alarm or finding.effect <= 0:
        return None
    return Alarm(
        kind=finding.kind,
        subject=finding.subject,
        slice=predictions.scope.slice,
        detector=finding.detector,
        severity=severity_of(finding.effect, finding.threshold),
        statistic=finding.statistic,
        threshold=finding.threshold,
        message=(
            f"By its scores alone, the loss ({finding.subject}) of {now.rows:,} predictions is expected to be"
            f" {100 * finding.effect:.0f} % more than in the evaluation; labels have not confirmed it."
        ),
        effect=finding.effect,
        estimated=True,
        reference=version,
        evidence=json.dumps({"reference": evaluated.metrics(), "now": dict(now.metrics), "estimated": True}),
    )
