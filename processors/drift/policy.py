"""The policy: what is declared of drift, applied to complete windows and to outcomes as their labels come.

An alarm needs two things. A difference that chance does not explain: p-values are adjusted for all the tests of a
window, over all its columns and slices (Benjamini and Hochberg). And an effect that matters: more rows find smaller
differences, but make none larger. From twice the declared threshold on, an alarm is critical.

What is found in the whole is not told again of its slices: those are for what the whole hides.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.processors.drift.concepts import Concepts
from tidemill.processors.drift.declaration import Drift, severity_of
from tidemill.processors.drift.estimates import estimated_alarm
from tidemill.processors.drift.fairness_alarms import fairness_alarms
from tidemill.processors.drift.findings import Finding, compared, judged
from tidemill.processors.drift.incident import Alarm, Offsets, Span
from tidemill.processors.drift.profile import Kind, Profile, merge_all
from tidemill.processors.drift.quality import ClassQuality
from tidemill.processors.drift.reference import References
from tidemill.processors.drift.rejections import Rejections
from tidemill.processors.drift.sequences import Sequenced
from tidemill.processors.drift.verdict import Judgement
from tidemill.processors.drift.windows import Merged, WindowKey
from tidemill.processors.drift.wording import evidence, sentence
from tidemill.processors.online_inference.target import Target


class DriftPolicy:
    """Judges windows and sequences of outcomes as declared; the judge of a control plane.

    `references` gives the profiles that a model version was made with, by kind and slice. Features are compared with
    those of the version that has answered last. A slice that the reference does not have is not compared.
    """

    def __init__(self, declared: Sequence[Drift], references: References, target: Target) -> None:
        self._declared, self._references, self._target = tuple(declared), references, target
        self._version = ""
        concept = [drift for drift in declared if drift.kind == "concept_drift"]
        self._concepts = Concepts(concept, references, classes=bool(target.classes))
        rejection = next((drift for drift in declared if drift.kind == "rejection_rate"), None)
        self._rejections = None if rejection is None else Rejections(rejection)

    def window(self, span: Span, kind: str, profiles: Mapping[WindowKey, Merged[Profile]]) -> Judgement:
        """A complete window: its profiles of one kind, by slice and model version."""
        by_slice: dict[str, list[Profile]] = {}
        for key in sorted(profiles):
            by_slice.setdefault(key.slice, []).append(profiles[key].profile)
        now = {name: merge_all(some) for name, some in by_slice.items()}
        self._learn_version(kind, profiles)
        offsets: Offsets = tuple((p, a, b) for p, (a, b) in sorted(now[""].offsets.items())) if "" in now else ()
        if kind == "outcomes":
            alarms = [alarm for name in now for alarm in self._concepts.window(span, name, now[name])]
            quality = now[""].quality if "" in now else None
            metrics = {} if quality is None else quality.metrics()
            unfair, looked = fairness_alarms(self._declared, now)
            covered = {("concept_drift", name) for name in now} | looked
            return Judgement([*alarms, *unfair], covered, offsets, metrics)
        if kind == "rejections":
            if self._rejections is None:
                return Judgement([], set(), offsets)
            return self._rejections.window(span, now, offsets)
        if kind == "features" and self._rejections is not None:
            self._rejections.answered(span, {name: profile.rows for name, profile in now.items()})
        return self._compared(kind, now, offsets)

    def outcomes(self, blocks: Sequence[Sequenced]) -> Sequence[tuple[Span, Alarm]]:
        """Outcomes in the order of their labels; the alarms, each with the label times from the change to the alarm."""
        return [found for block in blocks for found in self._concepts.outcome(block)]

    def save(self) -> dict[str, Any]:
        """What it remembers, as JSON can hold it."""
        rejections = None if self._rejections is None else self._rejections.saved()
        return {"version": self._version, "concepts": self._concepts.saved(), "rejections": rejections}

    def restore(self, saved: Any) -> None:
        """Begin with what was saved by a policy with the same declaration."""
        self._version = saved["version"]
        self._concepts.restore(saved["concepts"])
        if self._rejections is not None and saved["rejections"] is not None:
            self._rejections.restore(saved["rejections"])

    def _learn_version(self, kind: str, profiles: Mapping[WindowKey, Merged[Profile]]) -> None:
        if kind != "predictions":
            return
        rows = {key.model_version: merged.profile.rows for key, merged in sorted(profiles.items()) if not key.slice}
        known = {version: count for version, count in rows.items() if self._references(version)}
        if known:
            self._version = max(known, key=lambda version: known[version])

    def _compared(self, kind: str, now: Mapping[str, Profile], offsets: Offsets) -> Judgement:
        reference = self._references(self._version) if self._version else {}
        found: list[tuple[str, Finding]] = []
        covered = set()
        for name, profile in now.items():
            then = reference.get((profile.kind, name))
            for drift in self._declared:
                if then is not None and _looks_at(drift, kind):
                    covered.add((drift.kind, name))
                    found += [(name, finding) for finding in _tests(drift, then, profile)]
        verdicts = zip([name for name, _ in found], judged([finding for _, finding in found]), strict=True)
        estimated, looked = self._estimated(kind, now, reference)
        alarms = [
            Alarm(
                kind=finding.kind,
                subject=finding.subject,
                slice=name,
                detector=finding.detector,
                severity=severity_of(finding.effect, finding.threshold),
                statistic=finding.statistic,
                threshold=finding.threshold,
                message=sentence(finding, reference[now[name].kind, name], now[name]),
                effect=finding.effect,
                reference=self._version,
                evidence=evidence(finding.subject, reference[now[name].kind, name], now[name]),
            )
            for name, finding in verdicts
            if finding.alarm
        ]
        return Judgement(_without_parts([*alarms, *estimated]), covered | looked, offsets)

    def _estimated(
        self, kind: str, now: Mapping[str, Profile], reference: Mapping[tuple[Kind, str], Profile]
    ) -> tuple[list[Alarm], set[tuple[str, str]]]:
        declared = next((drift for drift in self._declared if drift.kind == "estimated_performance"), None)
        alarms: list[Alarm] = []
        covered: set[tuple[str, str]] = set()
        for name, profile in now.items() if kind == "predictions" and declared is not None else ():
            evaluated = reference.get(("outcomes", name))
            if declared is not None and evaluated is not None and isinstance(evaluated.quality, ClassQuality):
                covered.add((declared.kind, name))
                alarm = estimated_alarm(declared, evaluated.quality, profile, self._target, self._version)
                alarms += [] if alarm is None else [alarm]
        return alarms, covered


def _without_parts(alarms: Sequence[Alarm]) -> list[Alarm]:
    whole = {(alarm.kind, alarm.subject, alarm.detector) for alarm in alarms if not alarm.slice}
    return [alarm for alarm in alarms if not alarm.slice or (alarm.kind, alarm.subject, alarm.detector) not in whole]


def _looks_at(drift: Drift, kind: str) -> bool:
    return (drift.kind, kind) in {
        ("data_drift", "features"),
        ("missing_rate", "features"),
        ("prediction_drift", "predictions"),
    }


def _tests(drift: Drift, reference: Profile, now: Profile) -> list[Finding]:
    if drift.kind == "missing_rate":
        found = compared(reference, now, (), missing=drift.threshold)
    else:
        found = compared(reference, now, {drift.name: drift.threshold}, missing=None)
    return [finding for finding in found if drift.columns is None or finding.subject in drift.columns]
