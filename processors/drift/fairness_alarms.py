"""Alarms on groups that are answered too differently, from the profiles of outcomes by slice."""

import json
import math
from collections.abc import Mapping, Sequence

from tidemill.processors.drift.declaration import Drift, severity_of
from tidemill.processors.drift.fairness import GroupFigures, compare_groups
from tidemill.processors.drift.findings import FALSE_DISCOVERY_RATE
from tidemill.processors.drift.incident import Alarm
from tidemill.processors.drift.profile import Profile
from tidemill.processors.drift.quality import ClassQuality
from tidemill.processors.drift.slices import slice_name

WORDS = {"demographic_parity": "demographic parity", "equalised_odds": "equalised odds"}


def fairness_alarms(declared: Sequence[Drift], now: Mapping[str, Profile]) -> tuple[list[Alarm], set[tuple[str, str]]]:
    """The alarms of a window, whose profiles of outcomes are given by slice; and which kinds and slices were judged.

    A window in which fewer than two groups have enough rows is not judged.
    """
    alarms, looked = [], set()
    for drift in declared:
        if drift.kind != "fairness":
            continue
        (field,) = drift.columns or ("",)
        figures = compare_groups(
            {
                name: profile.quality.confusion
                for name, profile in now.items()
                if name.startswith(slice_name(field, "")) and isinstance(profile.quality, ClassQuality)
            }
        )
        if len(figures.rates) > 1:
            looked.add(("fairness", ""))
            alarms += _alarm(drift, field, figures)
    return alarms, looked


def _alarm(drift: Drift, field: str, figures: GroupFigures) -> list[Alarm]:
    apart, p_value = getattr(figures, drift.name), getattr(figures, f"{drift.name}_p")
    if apart < drift.threshold or p_value > FALSE_DISCOVERY_RATE:
        return []
    shown = {name: [None if math.isnan(rate) else rate for rate in rates] for name, rates in figures.rates.items()}
    return [
        Alarm(
            kind=drift.kind,
            subject=field,
            slice="",
            detector=drift.name,
            severity=severity_of(apart, drift.threshold),
            statistic=apart,
            threshold=drift.threshold,
            message=(
                f"Groups by {field} are apart by {apart:.2f} ({WORDS[drift.name]}, an alarm from"
                f" {drift.threshold:.2f} on; {figures.rows:,} outcomes of {len(figures.rates)} groups)."
            ),
            effect=apart,
            evidence=json.dumps({"p_value": p_value, "rates": shown, "too_few": figures.too_few}),
        )
    ]
