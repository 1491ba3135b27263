"""From material to what the report says."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tidemill.report import columns, fairness, quality
from tidemill.report.material import PRIOR, Material, RejectionCounts, Span, wider
from tidemill.report.view import Alert, ModelSpan, Reason, Rejections, Report, Stretch

MOST_STRETCHES = 90
_FEWEST_STRETCHES = 12
_MOST_COMPARISONS = 20_000
REJECTION_BINS = 60


def build(material: Material) -> Report:
    """The report.

    "Now" are the newest windows that together have as many rows as a window usually has. Windows are put together
    where there are too many of them to be shown, or to be compared in reasonable time.

    Raises:
        DeclarationError: there are no profiles of the slice and the time that are asked for.

    """
    material.require_windows()
    windows = material.windows
    spans, now = windows.spans, windows.newest()
    stretches = _stretches(material, spans)
    version = material.reference_for(now)
    settled = quality.maturity(material, stretches)
    reference = None if version is None else material.references[version].get(("features", windows.slice))
    return Report(
        pipeline=material.pipeline,
        slice=windows.slice,
        covered=_stretch(material, spans),
        window_ms=min(end - start for start, end in spans),
        windows=len(spans),
        stretches=tuple(_stretch(material, each) for each in stretches),
        now=_stretch(material, now),
        models=_models(material, spans),
        reference_version=version,
        reference=None
        if reference is None
        else Stretch(reference.scope.window_start, reference.scope.window_end, reference.rows),
        columns=columns.columns(material, now, version),
        history=columns.history(material, stretches),
        threshold=columns.threshold(),
        metrics=quality.metrics(material, stretches, settled, version),
        fairness=fairness.fairness(material, stretches, settled),
        maturity=settled,
        calibration=quality.calibration(material, stretches, settled, version),
        rejections=rejections(material.rejections),
        alerts=_alerts(material, spans),
    )


def rejections(counted: RejectionCounts) -> Rejections:
    """The counts in at most `REJECTION_BINS` bins of time, the most frequent reasons first."""
    places = [place for _, _, place in counted.counts]
    if not places:
        return Rejections(0, 0, 1, 0, ())
    first, last = min(places), max(places)
    width = counted.width
    while last * counted.width // width - first * counted.width // width >= REJECTION_BINS:
        width = wider(width)
    merged = width // counted.width
    first, bins = first // merged, last // merged - first // merged + 1
    by_reason: dict[tuple[str, str], list[int]] = {}
    for (stage, reason, place), count in counted.counts.items():
        by_reason.setdefault((stage, reason), [0] * bins)[place // merged - first] += count
    reasons = [Reason(stage, reason, sum(counts), tuple(counts)) for (stage, reason), counts in by_reason.items()]
    ordered = sorted(reasons, key=lambda each: (-each.count, each.stage, each.reason))
    return Rejections(sum(each.count for each in ordered), first * width, width, bins, tuple(ordered))


def _stretches(material: Material, spans: Sequence[Span]) -> list[list[Span]]:
    """The windows in groups of equal number, counted from the newest, so that this one is whole."""
    kinds = {
        name for profile in columns.present(material, spans[-1:]) for name in (*profile.numbers, *profile.categories)
    }
    most = max(_FEWEST_STRETCHES, min(MOST_STRETCHES, _MOST_COMPARISONS // max(len(kinds), 1)))
    size = -(-len(spans) // most)
    ends = range(len(spans), 0, -size)
    return [list(spans[max(end - size, 0) : end]) for end in reversed(ends)]


def _stretch(material: Material, spans: Sequence[Span]) -> Stretch:
    return Stretch(min(start for start, _ in spans), max(end for _, end in spans), material.windows.rows(spans))


def _models(material: Material, spans: Sequence[Span]) -> tuple[ModelSpan, ...]:
    """The versions that answered, in the order in which they first did; the prior is one of them."""
    announced = {event["model_version"]: event for event in material.models}
    since: dict[str, int] = {}
    for span in spans:
        for version in sorted(material.windows.answered([span])):
            since.setdefault(version, span[0])
    order = [PRIOR, *announced]
    rows = material.windows.answered(spans)
    made = [
        ModelSpan(
            version,
            start,
            rows[version],
            version in material.references,
            _milliseconds(announced.get(version, {}).get("trained_from")),
            _milliseconds(announced.get(version, {}).get("trained_until")),
        )
        for version, start in since.items()
    ]
    return tuple(
        sorted(made, key=lambda each: (each.since, order.index(each.version) if each.version in order else len(order)))
    )


def _alerts(material: Material, spans: Sequence[Span]) -> tuple[Alert, ...]:
    """Each incident as its last record has it, of this time: the open ones first, then the newest.

    A report on all events tells of every slice's incidents, that of a slice only of its own.
    """
    last = {row["id"]: row for row in sorted(material.alerts, key=lambda row: int(row["revision"]))}
    start, end = spans[0][0], spans[-1][1]
    made = []
    for row in last.values():
        opened, updated = _milliseconds(row["opened_at"]) or 0, _milliseconds(row["updated_at"]) or 0
        until = updated if row["state"] == "resolved" else None
        elsewhere = material.windows.slice not in ("", row["slice"])
        if elsewhere or opened > end or (until is not None and until < start):
            continue
        names = ("id", "kind", "subject", "slice", "detector", "severity", "message", "muted", "acknowledged_by")
        made.append(
            Alert(
                **{name: row[name] for name in names},
                opened_at=opened,
                until=until,
                estimated=row["estimated"],
                effect=row["effect"],
                threshold=row["threshold"],
            )
        )
    return tuple(sorted(made, key=lambda a: (a.until is not None, a.severity != "critical", -a.opened_at, a.id)))


def _milliseconds(time: Any) -> int | None:
    if time is None or isinstance(time, int):
        return time
    assert isinstance(time, datetime)
    return round(time.timestamp() * 1000)
