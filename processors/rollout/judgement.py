"""From decisions to the records that carry them out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from tidemill.processors.rollout.declaration import Rollout as Policy
from tidemill.processors.rollout.moves import Event, moved, retired, to_canary, to_champion
from tidemill.processors.rollout.policy import Action, Decision
from tidemill.processors.rollout.state import Rollout, Status


@dataclass(frozen=True)
class Judgement:
    """One step: the records to append, all at once, and in words what is done and why."""

    step: str
    reason: str
    events: tuple[Event, ...]


def next_step(
    rollout: Rollout, policy: Policy, decisions: Sequence[tuple[str, Decision]], *, by: str
) -> Judgement | None:
    """The most urgent step that the decisions on these candidates ask for; None if all are to wait.

    What must go goes first. Then what may go on does, unless a step before it is not done: there is one canary at a
    time, and no new champion while another one is on probation. A shadow that has nothing to be compared with, because
    nothing answers, becomes champion at once.
    """
    if rollout.champion is None and policy is not None and not decisions and rollout.shadows:
        version = rollout.shadows[0].version
        reason = f"nothing answers, so there is nothing that model {version} could be compared with"
        return _judgement(
            "promote to champion", reason, to_champion(rollout, version, by=by, reason=reason, probation=False)
        )
    for version, decision in decisions:
        if decision.action in (Action.REFUSE, Action.ROLL_BACK):
            return _out(rollout, version, decision, by)
    for version, decision in decisions:
        if decision.action is Action.PROMOTE:
            found = _on(rollout, policy, version, decision, by)
            if found is not None:
                return found
    return None


def _out(rollout: Rollout, version: str, decision: Decision, by: str) -> Judgement:
    reason = _said(decision)
    standing = rollout.standing(version)
    if standing.status is Status.CHAMPION:
        probation = rollout.probation
        assert probation is not None
        former = probation[1]
        events = [
            moved(former, Status.CHAMPION, by=by, reason=f"is champion again: {decision.reason}"),
            moved(standing, Status.ROLLED_BACK, by=by, reason=reason),
        ]
        return _judgement("roll back", decision.reason, events)
    if standing.status is Status.CANARY:
        return _judgement("roll back", decision.reason, [moved(standing, Status.ROLLED_BACK, by=by, reason=reason)])
    return _judgement("retire", decision.reason, retired(rollout, version, by=by, reason=reason))


def _on(rollout: Rollout, policy: Policy, version: str, decision: Decision, by: str) -> Judgement | None:
    reason, standing, probation = _said(decision), rollout.standing(version), rollout.probation
    if standing.status is Status.CHAMPION:
        assert probation is not None
        return _judgement(
            "end the probation", decision.reason, retired(rollout, probation[1].version, by=by, reason=reason)
        )
    if standing.status is Status.SHADOW and policy.canary > 0:
        if rollout.canary is not None:
            return None
        events = to_canary(rollout, version, policy.canary, by=by, reason=reason)
        return _judgement("promote to canary", decision.reason, events)
    if probation is not None:
        return None
    events = to_champion(rollout, version, by=by, reason=reason, probation=True)
    return _judgement("promote to champion", decision.reason, events)


def _said(decision: Decision) -> str:
    """The sentence with its figures, as it goes on the log."""
    return f"{decision.reason} {json.dumps({name: round(value, 6) for name, value in decision.figures.items()})}"


def _judgement(step: str, reason: str, events: Sequence[Event]) -> Judgement:
    return Judgement(step, reason, tuple(events))
