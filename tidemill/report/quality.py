"""How good the predictions were over time, how much of that is settled, and whether scores mean what they say."""

from collections.abc import Mapping, Sequence
from statistics import quantiles

from tidemill.processors.drift import ClassQuality, Profile, estimate
from tidemill.processors.drift.reference import Reference
from tidemill.processors.online_inference.target import Target
from tidemill.report.material import Material, Span
from tidemill.report.view import Calibration, CalibrationBin, Maturity, Metric, Point

FIGURES: Mapping[str, bool | None] = {
    "log_loss": False,
    "auc": True,
    "brier": False,
    "accuracy": True,
    "mae": False,
    "rmse": False,
    "bias": None,
}
"""What is shown, in this order, and whether more of it is better; None where 0 is."""
SETTLED = 0.95
"""A stretch is provisional while it has less than this of the labels that stretches usually have in the end."""


def maturity(material: Material, stretches: Sequence[Sequence[Span]]) -> Maturity:
    """How many of the predictions have their label.

    What stretches usually reach is the upper quartile of their shares: newer ones that still wait do not lower it.
    """
    windows = material.windows
    predicted = [_rows(windows.profile("predictions", spans)) or windows.rows(spans) for spans in stretches]
    labelled = [_labelled(windows.profile("outcomes", spans)) for spans in stretches]
    shares = [
        min(labels / rows, 1.0) if rows and any(labelled) else None
        for labels, rows in zip(labelled, predicted, strict=True)
    ]
    known = [share for share in shares if share is not None]
    usual = None if not known else quantiles(known, n=4, method="inclusive")[2] if len(known) > 1 else known[0]
    provisional = tuple(share is not None and share < SETTLED * (usual or 0.0) for share in shares)
    return Maturity(tuple(shares), provisional, usual, sum(labelled), sum(predicted))


def metrics(
    material: Material, stretches: Sequence[Sequence[Span]], settled: Maturity, version: str | None
) -> tuple[Metric, ...]:
    """Every figure of the quality that the outcomes have, one point a stretch."""
    outcomes = [material.windows.profile("outcomes", spans) for spans in stretches]
    measured = [_metrics(profile) for profile in outcomes]
    estimated = [_estimated(material, spans) for spans in stretches]
    reference = _metrics(_reference(material, version).get(("outcomes", material.windows.slice)))
    made = []
    for name, better in FIGURES.items():
        if not any(name in figures for figures in (*measured, *estimated)):
            continue
        points = tuple(
            Point(figures.get(name), guess.get(name), _rows(profile), late)
            for figures, guess, profile, late in zip(measured, estimated, outcomes, settled.provisional, strict=True)
        )
        made.append(Metric(name, better, reference.get(name), points))
    return tuple(made)


def calibration(
    material: Material, stretches: Sequence[Sequence[Span]], settled: Maturity, version: str | None
) -> Calibration | None:
    """Of the model that answered last, over all of its stretches whose labels are settled."""
    windows = material.windows
    spans = [span for each, late in zip(stretches, settled.provisional, strict=True) if not late for span in each]
    answering = next((found for span in reversed(spans) if (found := windows.answered([span]))), None)
    if not answering:
        return None
    newest = answering.most_common(1)[0][0]
    profile = windows.profile("outcomes", spans, newest)
    if profile is None or not isinstance(profile.quality, ClassQuality) or not profile.quality.rows:
        return None
    reference = _reference(material, version).get(("outcomes", windows.slice))
    before = reference.quality if reference is not None and isinstance(reference.quality, ClassQuality) else None
    return Calibration(
        newest,
        profile.quality.rows,
        profile.quality.metrics().get("calibration_error"),
        before.metrics().get("calibration_error") if before else None,
        _bins(profile.quality),
        _bins(before) if before else (),
    )


def _estimated(material: Material, spans: Sequence[Span]) -> Mapping[str, float]:
    """What the scores of the version that answered most let expect; none without that version's own reference."""
    windows = material.windows
    version = material.reference_for(spans)
    if version is None or not windows.answered(spans)[version]:
        return {}
    predictions = windows.profile("predictions", spans, version)
    evaluated = material.references[version].get(("outcomes", windows.slice))
    event = next((event for event in material.models if event["model_version"] == version), None)
    if predictions is None or event is None or not event["classes"]:
        return {}
    if evaluated is None or not isinstance(evaluated.quality, ClassQuality) or not evaluated.quality.rows:
        return {}
    return estimate(evaluated.quality, predictions, Target(tuple(event["classes"]))).metrics


def _bins(quality: ClassQuality) -> tuple[CalibrationBin, ...]:
    found = zip(*(each.tolist() for each in quality.calibration()), strict=True)
    return tuple(CalibrationBin(score, share, rows) for rows, score, share in found if rows)


def _metrics(profile: Profile | None) -> dict[str, float]:
    return {} if profile is None or profile.quality is None else profile.quality.metrics()


def _labelled(profile: Profile | None) -> int:
    return 0 if profile is None or profile.quality is None else profile.quality.rows


def _rows(profile: Profile | None) -> int:
    return 0 if profile is None else profile.rows


def _reference(material: Material, version: str | None) -> Reference:
    return {} if version is None else material.references[version]
