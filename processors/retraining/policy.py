"""The retrain policy: from what the control plane learns to triggers, each with its reason. No Kafka, no clock.

Open incidents wait until nothing holds them back, and then fire together as one trigger. What holds them back is
recorded once as a suppressed trigger, not each time that it is asked. The policy depends on what it was told, in that
order, and on nothing else: its state is JSON, and whoever restores it and tells the rest again gets the same triggers.
It remembers how far it was told (`news`), so that what it is told again after a restart changes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tidemill.processors.drift.incident import Incident
from tidemill.processors.online_inference.stage import PRIOR
from tidemill.processors.retraining.declaration import FAULTS, Retrain
from tidemill.processors.retraining.trigger import Cause, Request, Suppression, Trigger, trigger_id

_MOST_TOLD = 200
_NEVER = -(2**62)


class RetrainPolicy:
    """Decides when a new model is wanted."""

    def __init__(self, pipeline: str, declared: Retrain, served: Callable[[], bool] = lambda: False) -> None:
        """`served` says whether a model has been announced to answer, by whomever."""
        self._pipeline, self._declared, self._served = pipeline, declared, served
        self._at, self._began = _NEVER, _NEVER
        """How far events have come, and where they were when this was first told."""
        self._open: dict[str, dict[str, Any]] = {}
        """Incidents that are open, and of each the revision that a trigger has answered."""
        self._fired: list[int] = []
        self._running: list[str] = []
        """Jobs that follow from triggers, and have not ended."""
        self._labels = 0
        self._unanswered = 0
        """Labels of events that no model has answered."""
        self._answered = False
        """Whether there is a model: labels of what the prior answered go on coming for long after it."""
        self._enough = max(declared.least_labels, 1)
        self._broken: dict[str, Any] | None = None
        self._told: list[str] = []
        self._closed: list[str] = []
        """Incidents that have resolved or were muted, with their last revision."""
        self._through: dict[str, int] = {}
        self._made: list[Trigger] = []

    def news(self, source: str, offset: int) -> bool:
        """Whether what stands at this offset was not told yet; from now on it was."""
        if offset <= self._through.get(source, -1):
            return False
        self._through[source] = offset
        return True

    def incident(self, incident: Incident) -> None:
        """An incident, as it was told."""
        name = f"{incident.id}.{incident.revision}"
        known = self._open.get(incident.id, {"answered": -1, "since": incident.span.start, "revision": -1})
        if name in self._closed or incident.revision <= known["revision"]:
            return
        self._reach(incident.updated_at)
        if incident.state == "resolved" or incident.muted:
            self._open.pop(incident.id, None)
            earlier = [f"{incident.id}.{revision}" for revision in range(incident.revision + 1)]
            self._closed = [*self._closed, *earlier[-_MOST_TOLD:]][-_MOST_TOLD:]
        else:
            self._open[incident.id] = {
                "revision": incident.revision,
                "answered": known["answered"],
                "kind": incident.alarm.kind,
                "subject": incident.alarm.subject,
                "slice": incident.alarm.slice,
                "severity": incident.alarm.severity,
                "since": known["since"],
                "message": incident.alarm.message,
                "reference": incident.alarm.reference,
                "effect": incident.alarm.effect,
            }
        self._decide()

    def window(self, end: int, metrics: Mapping[str, float]) -> None:
        """A window is complete: its end, and how good predictions were in it, if that is known."""
        self._reach(end)
        broken = self._declared.broken_floor(metrics)
        if broken is not None:
            name, value, floor = broken
            self._broken = {"metric": name, "value": value, "floor": floor, "window_end": end}
        elif metrics:
            self._broken = None
        self._decide()

    def outcomes(self, rows: int, version: str = "", at: int = _NEVER) -> None:
        """So many labels have been joined to answers of this model version, to events from this time on."""
        if at != _NEVER:
            self._reach(at)
        self._labels += rows
        self._answered = self._answered or version not in ("", PRIOR)
        if version == PRIOR:
            self._unanswered += rows
            self._decide_first()
        self._decide()

    def request(self, request: Request) -> None:
        """Somebody asks; that is not held back."""
        identity = trigger_id(self._pipeline, "request", request.id)
        if self.news("requests", request.place):
            why = f"{request.who} asks for a new model" + (f": {request.reason}" if request.reason else "")
            evidence = {"request": request.id, "labels": self._labels}
            self._fire(Trigger(identity, "request", self._now, why, request.since, who=request.who, evidence=evidence))

    def job_ended(self, job: str, *, succeeded: bool = False) -> None:
        """A job has ended, in whichever way: what it was waited for is asked again."""
        self._answered = self._answered or succeeded
        if job in self._running:
            self._running.remove(job)
            self._decide()
            if self._unanswered:
                self._decide_first()

    def drain(self) -> list[Trigger]:
        """The triggers since this was last asked."""
        made, self._made = self._made, []
        return made

    def saved(self) -> dict[str, Any]:
        """What it remembers, as JSON can hold it."""
        return {
            "at": self._at,
            "began": self._began,
            "open": self._open,
            "fired": self._fired,
            "running": self._running,
            "labels": self._labels,
            "unanswered": self._unanswered,
            "answered": self._answered,
            "enough": self._enough,
            "broken": self._broken,
            "told": self._told,
            "closed": self._closed,
            "through": self._through,
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Begin with what was saved."""
        self._at, self._began, self._labels = saved["at"], saved["began"], saved["labels"]
        self._unanswered, self._enough = saved["unanswered"], saved["enough"]
        self._answered = saved.get("answered", False)
        self._open = {name: dict(each) for name, each in saved["open"].items()}
        self._fired, self._told, self._broken = list(saved["fired"]), list(saved["told"]), saved["broken"]
        self._running = list(saved["running"])
        self._closed, self._through = list(saved["closed"]), dict(saved["through"])

    @property
    def _now(self) -> int:
        return max(self._at, 0)

    def _reach(self, at: int) -> None:
        if self._began == _NEVER:
            self._began = at
        self._at = max(self._at, at)

    def _decide(self) -> None:
        """Ask each cause in turn; the first that fires starts the cooldown of the others."""
        waiting = {name: each for name, each in sorted(self._open.items()) if self._counts(each)}
        if waiting:
            self._try(self._of_incidents(waiting), self._held_back(waiting))
        if self._broken is not None:
            self._try(self._of_performance(self._broken), self._held_back())
        declared = self._declared
        every, last = declared.every_ms, self._fired[-1] if self._fired else self._began
        if every is not None and last != _NEVER and self._at - last >= every:
            reason = f"no model was trained for {_days(self._at - last)}, and one is wanted every {_days(every)}"
            self._try(self._trigger("schedule", (last,), reason, {"last": last}), self._held_back())
        if declared.labels is not None and self._labels >= declared.labels:
            reason = f"{self._labels:,} labels have come since the last one, and {declared.labels:,} are enough"
            evidence = {"labels": self._labels}
            self._try(self._trigger("labels", (last,), reason, evidence), self._held_back())

    def _decide_first(self) -> None:
        """A first model, as long as there is none: with enough labels, and with twice as many if that led to none."""
        if self._unanswered >= self._enough and not (self._answered or self._served()):
            reason = f"no model answers yet, and {self._unanswered:,} labels have come to learn a first one from"
            made = self._trigger("labels", ("first", self._enough), reason, {"labels": self._unanswered})
            if self._try(made, self._held_back()):
                self._enough = 2 * self._unanswered

    def _counts(self, incident: Mapping[str, Any]) -> bool:
        declared = self._declared
        return (
            incident["kind"] in declared.on
            and incident["revision"] > incident["answered"]
            and (declared.severity == "warning" or incident["severity"] == "critical")
        )

    def _of_incidents(self, waiting: Mapping[str, Mapping[str, Any]]) -> Trigger:
        found = [{"id": name, **each} for name, each in waiting.items()]
        named = sorted({f"{each['kind']} of {each['subject']}" for each in found})
        more = f" and {len(named) - 3} more" if len(named) > 3 else ""
        versions = [each["reference"] for each in found if each["reference"]]
        return self._trigger(
            "drift_alert",
            [(each["id"], each["revision"]) for each in found],
            f"{', '.join(named[:3])}{more}",
            {"incidents": found, "labels": self._labels},
            since=min(each["since"] for each in found),
            reference=versions[-1] if versions else "",
        )

    def _of_performance(self, broken: Mapping[str, Any]) -> Trigger:
        reason = f"{broken['metric']} was {broken['value']:.4g} in a window, where {broken['floor']:.4g} is the floor"
        return self._trigger("performance", (broken["metric"], broken["window_end"]), reason, dict(broken))

    def _trigger(
        self,
        cause: Cause,
        identity: Sequence[object],
        reason: str,
        evidence: Mapping[str, Any],
        *,
        since: int | None = None,
        reference: str = "",
    ) -> Trigger:
        made = trigger_id(self._pipeline, cause, *identity)
        return Trigger(made, cause, self._now, reason, since, reference, evidence=evidence)

    def _held_back(self, waiting: Mapping[str, Any] | None = None) -> tuple[Suppression, str] | None:
        declared = self._declared
        faults = [each for each in self._open.values() if _is_fault(each)]
        if faults:
            named = ", ".join(sorted({f"{each['kind']} of {each['subject']}" for each in faults}))
            return "data_fault", f"the data have a fault that must not be learnt: {named}"
        if waiting is not None and len(waiting) < declared.quorum:
            return "quorum", f"{len(waiting)} incidents are open, and {declared.quorum} are needed"
        if self._running:
            return "running", f"job {self._running[-1]} has not ended"
        if self._fired and self._at - self._fired[-1] < declared.cooldown_ms:
            until = _date(self._fired[-1] + declared.cooldown_ms)
            return "cooldown", f"the last one fired on {_date(self._fired[-1])}, and the cooldown lasts until {until}"
        if declared.budget_of is not None:
            most, span = declared.budget_of
            spent = sum(1 for at in self._fired if self._at - at < span)
            if spent >= most:
                return "budget", f"{spent} have fired within {_days(span)}, which is the budget"
        if self._labels < declared.least_labels:
            return (
                "few_labels",
                f"{self._labels:,} labels have come since the last one, and {declared.least_labels:,} are needed",
            )
        return None

    def _try(self, trigger: Trigger, held_back: tuple[Suppression, str] | None) -> bool:
        """Fire it, or say once why not; whether it has fired."""
        if held_back is None:
            self._fire(trigger)
            return True
        by, why = held_back
        # Once for these incidents, however often they change meanwhile.
        about = [each["id"] for each in trigger.evidence.get("incidents", ())] or trigger.id
        identity = trigger_id(self._pipeline, "suppressed", trigger.cause, about, by)
        if identity not in self._told:
            self._tell(
                Trigger(
                    identity,
                    trigger.cause,
                    trigger.at,
                    f"{trigger.reason}; suppressed: {why}",
                    trigger.since,
                    trigger.reference,
                    by,
                    evidence=trigger.evidence,
                )
            )
        return False

    def _fire(self, trigger: Trigger) -> None:
        if trigger.id in self._told:
            return
        self._tell(trigger)
        self._fired = [*self._fired, max(self._at, 0)][-_MOST_TOLD:]
        self._running = [*self._running, trigger.id][-_MOST_TOLD:]
        self._labels, self._broken = 0, None
        # One trigger answers whatever is open: the model that it leads to learns from the same events.
        for each in self._open.values():
            each["answered"] = each["revision"]

    def _tell(self, trigger: Trigger) -> None:
        self._told = [*self._told, trigger.id][-_MOST_TOLD:]
        self._made.append(trigger)


def _is_fault(incident: Mapping[str, Any]) -> bool:
    """Whether more is missing or rejected than before. Less, such as when windows have filled, is nothing to mend."""
    effect = incident.get("effect")
    return incident["kind"] in FAULTS and (effect is None or effect > 0)


def _date(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="minutes").removesuffix("+00:00")


def _days(milliseconds: int) -> str:
    return f"{milliseconds / 86_400_000:.3g} days"
