"""Predictions that are wrong more often than they were: sequential detectors by slice and model, and their finds."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tidemill.processors.drift.declaration import Drift, severity_of
from tidemill.processors.drift.findings import FALSE_DISCOVERY_RATE
from tidemill.processors.drift.incident import Alarm, Span
from tidemill.processors.drift.monitor import Level, Monitor, Shift
from tidemill.processors.drift.profile import Profile
from tidemill.processors.drift.quality import ClassQuality, RegressionQuality
from tidemill.processors.drift.rates import Rate, compare_rates
from tidemill.processors.drift.reference import References
from tidemill.processors.drift.sequences import Sequenced
from tidemill.processors.drift.wording import percent

WINDOWS_PER_ALARM = 30
"""At least so many windows there are, on average, between false alarms of a sequence, however many rows they have."""
_SURER_OF_SLICES = 10.0
_FADING = 0.9
_MOST_VERSIONS = 3
_ENOUGH_QUIET = 3
Key = tuple[str, str, str]
"""Detector, slice and model version."""


class Concepts:
    """Feeds the declared detectors with outcomes in the order of their labels.

    Each slice and model version has detectors of its own; their baseline is the version's evaluation, where they take
    one. A detector's find is an alarm if the level rose by the declared effect; rises too small for that add up. An
    alarm is repeated by each window of outcomes that is still as much worse than before, and else is quiet. It is over
    when another model takes over. A slice is told of only while the whole is quiet.

    A detector's `rows_per_alarm` would mean an alarm an hour where a million outcomes come in a day. Unless it is
    declared, it grows with the outcomes in a window, so that an alarm costs one in so many windows, in any volume.
    """

    def __init__(self, declared: Sequence[Drift], references: References, *, classes: bool) -> None:
        self._declared = {drift.name: drift for drift in declared}
        self._references, self._classes = references, classes
        self._monitors: dict[Key, Monitor] = {}
        self._before: dict[Key, Level] = {}
        self._raised: dict[tuple[str, str], dict[str, Any]] = {}
        self._volume = 0.0

    def outcome(self, sequenced: Sequenced) -> list[tuple[Span, Alarm]]:
        """A block of outcomes; the alarms that it brings."""
        block, found = sequenced.block, []
        if not block.rows:
            return []
        for name, drift in self._declared.items():
            key = name, sequenced.slice, sequenced.model_version
            total = block.errors if self._classes else block.loss
            monitor = self._monitor(key)
            if "rows_per_alarm" not in drift.settings:
                # A slice has fewer rows than the stream, but there are as many more of them.
                monitor.expect(WINDOWS_PER_ALARM * self._volume, _SURER_OF_SLICES if sequenced.slice else 1.0)
            shift = monitor.feed(float(total), block.rows, sequenced.time)
            alarm = None if shift is None else self._alarm(key, drift, shift)
            if shift is not None and alarm is not None and not self._is_part(name, sequenced.slice):
                found.append((Span(min(shift.since, sequenced.time), sequenced.time + 1), alarm))
        return found

    def window(self, span: Span, where: str, profile: Profile) -> list[Alarm]:
        """A window of outcomes in a slice: the alarms that are not over."""
        now = self._level(profile)
        if not where:
            self._volume = max(float(profile.rows), _FADING * self._volume)
        found = []
        for name, drift in self._declared.items():
            raised = self._raised.get((name, where))
            if raised is None or now is None or span.end <= raised["since"]:
                continue
            before = Level(*raised["before"])
            effect, certain = self._effect(before, now)
            if certain and effect >= drift.threshold:
                raised["quiet"] = 0
                if not self._is_part(name, where):
                    key = name, where, raised["version"]
                    found.append(self._made(key, drift, before, now, effect, raised["since"]))
            else:
                raised["quiet"] += 1
                if raised["quiet"] >= _ENOUGH_QUIET:
                    del self._raised[name, where]
        return found

    def _is_part(self, name: str, where: str) -> bool:
        """Whether this is a slice of a whole of which there is an alarm."""
        return bool(where) and (name, "") in self._raised

    def _monitor(self, key: Key) -> Monitor:
        known = self._monitors.pop(key, None)
        if known is None:
            known = self._new(key)
            self._raised.pop(key[:2], None)
        self._monitors[key] = known
        mine = [each for each in self._monitors if each[:2] == key[:2]]
        for forgotten in mine[:-_MOST_VERSIONS]:
            del self._monitors[forgotten]
            self._before.pop(forgotten, None)
        return known

    def _new(self, key: Key) -> Monitor:
        name, where, version = key
        drift, level = self._declared[name], self._evaluated(where, version)
        baseline = None if level is None or not self._classes else (level.mean, level.rows)
        return Monitor(lambda: drift.sequential("errors" if self._classes else "losses", baseline))

    def _evaluated(self, where: str, version: str) -> Level | None:
        reference = self._references(version)
        profile = reference.get(("outcomes", where)) or reference.get(("outcomes", ""))
        return None if profile is None else self._level(profile)

    def _level(self, profile: Profile) -> Level | None:
        match profile.quality:
            case ClassQuality() as quality if quality.rows:
                return Level(float(quality.rows - quality.confusion.trace()), quality.rows)
            case RegressionQuality() as quality if quality.rows:
                return Level(quality.metrics()["mae"] * quality.rows, quality.rows)
        return None

    def _alarm(self, key: Key, drift: Drift, shift: Shift) -> Alarm | None:
        before = self._before.pop(key, None) or (shift.before if shift.before.rows else self._evaluated(*key[1:]))
        if before is None:
            return None
        effect, _ = self._effect(before, shift.after)
        if effect < drift.threshold:
            if effect > 0:
                self._before[key] = before
            return None
        self._raised[key[:2]] = {
            "before": [before.total, before.rows],
            "since": shift.since,
            "version": key[2],
            "quiet": 0,
        }
        return self._made(key, drift, before, shift.after, effect, shift.since, shift)

    def _effect(self, before: Level, now: Level) -> tuple[float, bool]:
        """By how much the level has risen, and whether chance does not explain it."""
        if not self._classes:
            return (now.mean / before.mean - 1 if before.mean else 0.0), True
        made = compare_rates(Rate(round(before.total), before.rows), Rate(round(now.total), now.rows))
        return made.effect, made.p_value is not None and made.p_value <= FALSE_DISCOVERY_RATE

    def _made(
        self, key: Key, drift: Drift, before: Level, now: Level, effect: float, since: int, shift: Shift | None = None
    ) -> Alarm:
        time = datetime.fromtimestamp(since / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        told = f"since labels of {time}" if shift is not None else "in this window"
        if self._classes:
            message = f"Predictions are wrong in {percent(now.mean)} of {now.rows:,} outcomes {told};"
            message += f" before, in {percent(before.mean)}."
        else:
            message = f"The mean loss of {now.rows:,} outcomes {told} is {now.mean:.4g}; before, {before.mean:.4g}."
        seen: dict[str, Any] = {"before": vars(before), "now": vars(now), "change_point": since}
        if shift is not None:
            seen |= {"change_point_estimated": shift.estimated, "evidence": shift.evidence, "limit": shift.limit}
        return Alarm(
            kind="concept_drift",
            subject="errors" if self._classes else "loss",
            slice=key[1],
            detector=drift.name,
            severity=severity_of(effect, drift.threshold),
            statistic=effect,
            threshold=drift.threshold,
            message=message,
            effect=effect,
            reference=key[2],
            evidence=json.dumps(seen),
        )

    def saved(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {
            "monitors": [[list(key), monitor.saved()] for key, monitor in self._monitors.items()],
            "before": [[list(key), [level.total, level.rows]] for key, level in self._before.items()],
            "raised": [[list(key), raised] for key, raised in self._raised.items()],
            "volume": self._volume,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Begin with what was saved; detectors that are no longer declared are left out."""
        for (name, where, version), state in saved["monitors"]:
            if name in self._declared:
                self._monitors[name, where, version] = self._new((name, where, version))
                self._monitors[name, where, version].restore(state)
        self._before = {(a, b, c): Level(*level) for (a, b, c), level in saved["before"]}
        self._raised = {(name, where): dict(raised) for (name, where), raised in saved["raised"]}
        self._volume = saved["volume"]
