"""Each column now against the reference: the shapes, what the distance says, and the same in words."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tidemill.processors.drift import CategorySketch, Finding, NumberSketch, Profile, compare_profiles, distance_named
from tidemill.processors.drift.bins import Sketch
from tidemill.processors.drift.reference import Reference
from tidemill.report import distribution, words
from tidemill.report.material import Material, Span
from tidemill.report.view import Bar, CategoryShare, Column, ColumnHistory, Group

DETECTOR = "psi"
GROUPS: tuple[Group, ...] = ("features", "predictions", "outcomes")


@dataclass(frozen=True)
class Compared:
    """What was found of one column: by the distance, and about its missing values."""

    effect: float
    p_value: float | None
    threshold: float
    alarm: bool
    missing_alarm: bool


def compared(references: Reference, slice_: str, profiles: Iterable[Profile]) -> dict[tuple[Group, str], Compared]:
    """Compare profiles with those of the same kind in a reference; columns that either does not have are left out."""
    made: dict[tuple[Group, str], Compared] = {}
    for profile in profiles:
        group = _group(profile)
        reference = references.get((group, slice_))
        if reference is None:
            continue
        found: dict[str, dict[str, Finding]] = {}
        for finding in compare_profiles(reference, profile, (DETECTOR,)):
            found.setdefault(finding.subject, {})[finding.kind if finding.kind == "missing_rate" else ""] = finding
        for name, kinds in found.items():
            distance, missing = kinds[""], kinds.get("missing_rate")
            made[group, name] = Compared(
                distance.effect, distance.p_value, distance.threshold, distance.alarm, bool(missing and missing.alarm)
            )
    return made


def columns(material: Material, now: Sequence[Span], version: str | None) -> tuple[Column, ...]:
    """Every column, those that have drifted first, then by how far they are from the reference."""
    slice_ = material.windows.slice
    references: Reference = {} if version is None else material.references[version]
    profiles = present(material, now)
    found = compared(references, slice_, profiles)
    made = []
    for profile in profiles:
        group = _group(profile)
        reference = references.get((group, slice_))
        for name, sketch in shown(profile).items():
            made.append(_column(group, name, sketch, reference, found.get((group, name))))
    return tuple(sorted(made, key=_order))


def history(material: Material, stretches: Sequence[Sequence[Span]]) -> tuple[ColumnHistory, ...]:
    """How far each column was from the reference that was in force, stretch by stretch; the furthest first."""
    steps = []
    for spans in stretches:
        version = material.reference_for(spans)
        references: Reference = {} if version is None else material.references[version]
        # What another model, or the prior, says is not to be held against this one.
        own = version is not None and material.windows.answered(spans)[version]
        profiles = [profile for profile in present(material, spans) if own or profile.kind != "predictions"]
        made_here = compared(references, material.windows.slice, profiles)
        seen = {(_group(profile), name) for profile in profiles for name in shown(profile)}
        steps.append({key: value for key, value in made_here.items() if key in seen})
    made = []
    for group, name in sorted({key for step in steps for key in step}):
        found = [step.get((group, name)) for step in steps]
        effects = tuple(None if each is None else each.effect for each in found)
        made.append(ColumnHistory(name, group, effects, tuple(each is not None and each.alarm for each in found)))
    return tuple(
        sorted(made, key=lambda row: (-sum(row.alarms), -max(e or 0.0 for e in row.effects), row.group, row.name))
    )


def present(material: Material, spans: Sequence[Span]) -> list[Profile]:
    """The profiles that there are of some windows, of all versions together."""
    return [profile for group in GROUPS if (profile := material.windows.profile(group, spans)) is not None]


def threshold() -> float:
    """The effect from which on the distance counts."""
    return distance_named(DETECTOR).threshold


def _group(profile: Profile) -> Group:
    assert profile.kind != "rejections"
    return profile.kind


def shown(profile: Profile) -> dict[str, Sketch]:
    """The columns that say something of their own.

    Of two probabilities, which mirror each other, that is one; and their class says less than they do.
    """
    sketches: dict[str, Sketch] = {**profile.numbers, **profile.categories}
    scores = [column for column in profile.numbers if column.startswith("probability_")]
    if profile.kind == "predictions" and len(scores) == 2:
        return {name: sketch for name, sketch in sketches.items() if name not in ("value", min(scores))}
    return sketches


def _column(group: Group, name: str, now: Sketch, reference: Profile | None, found: Compared | None) -> Column:
    then = None if reference is None else reference.numbers.get(name) or reference.categories.get(name)
    bars: tuple[Bar, ...] = ()
    shares: tuple[CategoryShare, ...] = ()
    medians: list[float | None] = [None, None]
    if isinstance(now, NumberSketch):
        number = then if isinstance(then, NumberSketch) else None
        bars, change = distribution.bars(number, now), words.number_change(number, now)
        medians = [s.quantile(0.5) if s is not None and s.count else None for s in (number, now)]
    else:
        category = then if isinstance(then, CategorySketch) else None
        shares = distribution.shares(category, now)
        change = words.category_change(category, now, shares)
    missing = ""
    if found and found.missing_alarm and then is not None:
        missing = f"missing {'more' if now.missing_rate > then.missing_rate else 'less'} often"
    effect, least = (found.effect, found.threshold) if found else (None, None)
    return Column(
        name=name,
        group=group,
        detector=DETECTOR,
        effect=effect,
        threshold=least,
        p_value=found.p_value if found else None,
        alarm=bool(found and found.alarm),
        missing_reference=_known(then.missing_rate) if then is not None else None,
        missing=_known(now.missing_rate) or 0.0,
        missing_alarm=bool(found and found.missing_alarm),
        verdict=words.verdict(effect, least, bool(found and found.alarm), missing),
        change=change,
        median_reference=medians[0],
        median=medians[1],
        bars=bars,
        categories=shares,
    )


def _known(share: float) -> float | None:
    return None if share != share else share


def _order(column: Column) -> tuple[bool, float, str, str]:
    return not column.drifted, -abs(column.effect or 0.0), column.group, column.name
