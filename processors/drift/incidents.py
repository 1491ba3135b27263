"""From alarms to incidents: what opens, what is worth another word, what is over. Event time only."""

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from tidemill.processors.drift.incident import Action, Alarm, Incident, Offsets, Series, Span


@dataclass(frozen=True)
class IncidentPolicy:
    """When an open incident is told of again, and when it is over.

    `resolve_after` quiet windows resolve it. While it lasts it is told of again when its severity rises, when its
    statistic has moved by the share `material` of what was told last, and every `remind_every` windows.
    """

    resolve_after: int = 3
    remind_every: int = 24
    material: float = 0.5


class Incidents:
    """The open incidents of a pipeline, at most one for each kind, subject, slice and detector.

    What it answers depends on what it is given and in what order, and on nothing else. Each incident remembers the end
    of the last window that counted for it, and the last action: what is given again after a restart changes nothing.
    """

    def __init__(self, pipeline: str, policy: IncidentPolicy = IncidentPolicy()) -> None:
        self._pipeline, self._policy = pipeline, policy
        self._open: dict[Series, Incident] = {}
        self._mutes: dict[Series, Action] = {}
        self._early: dict[str, Action] = {}
        self._changed: dict[str, object] = {}

    @property
    def standing(self) -> list[Incident]:
        """Those that are open, muted ones as well."""
        return list(self._open.values())

    def found(self, span: Span, alarms: Iterable[Alarm], offsets: Offsets = ()) -> list[Incident]:
        """Findings between windows, as sequential detectors make them; returns the incidents to tell of."""
        told = (self._take(span, alarm, offsets) for alarm in alarms)
        return [incident for incident in told if incident is not None]

    def judged(
        self, span: Span, covered: Collection[tuple[str, str]], alarms: Iterable[Alarm], offsets: Offsets = ()
    ) -> list[Incident]:
        """A closed window and all that was found in it; `covered` are the (kind, slice) that it was looked for in.

        What is covered and was not found is quiet. Returns the incidents to tell of.
        """
        loud = {alarm.series: alarm for alarm in alarms}
        told = self.found(span, loud.values(), offsets)
        for series, incident in sorted(self._open.items()):
            kind, _, where, _ = series
            if series not in loud and incident.applied < span.end and (kind, where) in covered:
                quiet = replace(incident, quiet=incident.quiet + 1, applied=span.end)
                if quiet.quiet < self._policy.resolve_after:
                    self._keep(quiet)
                else:
                    told.append(self._tell(quiet, "resolved", span.end))
        return told

    def act(self, action: Action) -> list[Incident]:
        """Somebody's action; an incident that has not opened yet is waited for. Returns the incidents to tell of."""
        incident = next((each for each in self._open.values() if each.id == action.id), None)
        if incident is None:
            self._early[action.id] = action
            while len(self._early) > _MOST_EARLY:
                del self._early[next(iter(self._early))]
            self._changed[_EARLY] = self._waiting()
            return []
        if incident.acted >= action.place:
            return []
        if action.action != "acknowledge":
            self._mute(incident.series, action)
        return [self._tell(incident.after(action), "updated", incident.updated_at)]

    def entries(self) -> dict[str, bytes | None]:
        """What has changed since this was last asked, under keys; None is deleted. `restore` takes them back.

        The order matters if only the first of them are kept: what is deleted comes first.
        """
        changed, self._changed = self._changed, {}
        return {
            key: None if value is None else json.dumps(value, sort_keys=True).encode()
            for key, value in sorted(changed.items(), key=lambda item: item[1] is not None)
        }

    def restore(self, entries: Mapping[str, bytes]) -> None:
        """Begin with what was saved."""
        for key, value in entries.items():
            saved = json.loads(value)
            if key == _EARLY:
                self._early = {each["id"]: Action(**each) for each in saved}
            elif key.startswith(_MUTE):
                self._mutes[tuple(saved["series"])] = Action(**saved["action"])
            elif key.startswith(_INCIDENT):
                incident = Incident.of(saved)
                self._open[incident.series] = incident

    def _waiting(self) -> list[object]:
        return [vars(action) for action in self._early.values()]

    def _take(self, span: Span, alarm: Alarm, offsets: Offsets) -> Incident | None:
        known = self._open.get(alarm.series)
        if known is None:
            opened = Incident.opened(self._id(alarm.series, span), alarm, span, offsets)
            return self._tell(self._as_muted(opened), "opened", span.end)
        if known.applied >= span.end:
            return None
        worse = alarm.severity == "critical" != known.told_severity
        moved = abs(alarm.statistic - known.told_statistic) > self._policy.material * abs(known.told_statistic)
        again = self._as_muted(known.found_in(span, alarm, offsets))
        heard = known.muted and not again.muted
        if worse or moved or heard or again.silent >= self._policy.remind_every:
            return self._tell(again, "updated", span.end)
        self._keep(again)
        return None

    def _as_muted(self, incident: Incident) -> Incident:
        """Muted for as long as somebody has said."""
        early = self._early.pop(incident.id, None)
        if early is not None:
            self._changed[_EARLY] = self._waiting()
            if early.action != "acknowledge":
                self._mute(incident.series, early)
            return incident.after(early)
        mute = self._mutes.get(incident.series)
        if mute is None or mute.until is None:
            return incident
        if mute.until > incident.span.end:
            return replace(incident, muted=True, note=mute.reason)
        del self._mutes[incident.series]
        self._changed[_mute_key(incident.series)] = None
        return replace(incident, muted=False)

    def _mute(self, series: Series, action: Action) -> None:
        if action.action == "mute" and action.until is not None:
            self._mutes[series] = action
            self._changed[_mute_key(series)] = {"series": series, "action": vars(action)}
        elif self._mutes.pop(series, None) is not None:
            self._changed[_mute_key(series)] = None

    def _tell(self, incident: Incident, state: Literal["opened", "updated", "resolved"], at: int) -> Incident:
        told = incident.told(state, at)
        if state == "resolved":
            del self._open[incident.series]
            self._changed[_INCIDENT + incident.id] = None
        else:
            self._keep(told)
        return told

    def _keep(self, incident: Incident) -> None:
        self._open[incident.series] = incident
        self._changed[_INCIDENT + incident.id] = incident.saved()

    def _id(self, series: Series, span: Span) -> str:
        return hashlib.sha256(json.dumps([self._pipeline, *series, span.start, span.end]).encode()).hexdigest()[:16]


_MOST_EARLY = 256
_EARLY, _MUTE, _INCIDENT = "early", "mute|", "incident|"


def _mute_key(series: Series) -> str:
    return _MUTE + json.dumps(series)
