"""From evidence to a decision: promote, hold, refuse or roll back, with a sentence and figures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

from tidemill.processors.duration import duration
from tidemill.processors.rollout.comparison import Comparison
from tidemill.processors.rollout.declaration import Rollout, span_or_count
from tidemill.processors.rollout.moments import more_often
from tidemill.processors.rollout.slices import PATIENCE, Finding, Group, Slice, look_at_groups, look_at_slices
from tidemill.processors.training.gates.declaration import Gates

_STAGES = 3
"""In each of which a candidate may be shown to be worse: they share the error."""


class Stage(StrEnum):
    """Where a candidate stands. On probation it is champion already, and compared with the one before."""

    SHADOW = "shadow"
    CANARY = "canary"
    PROBATION = "probation"


class Action(StrEnum):
    """What is to be done: `PROMOTE` to the next stage, `REFUSE` a shadow, `ROLL_BACK` what answered, or `HOLD` on."""

    HOLD = "hold"
    PROMOTE = "promote"
    REFUSE = "refuse"
    ROLL_BACK = "roll_back"


@dataclass(frozen=True)
class Evidence:
    """What is known of a candidate and its reference.

    `here` compares them in this stage, `before` in the stages before it. `scored` events were shown to the candidate in
    this stage, and it failed on so many of those that the reference answered. `span` is how far event time has moved in
    this stage, `span_before` in those before it, in microseconds. `reference_failures` are events of this stage that
    only the candidate answered. `slices` by name, and `groups` by sensitive field and name, are of all these stages.
    """

    stage: Stage
    candidate: str
    reference: str
    metric: str
    here: Comparison = field(default_factory=Comparison)
    before: Comparison = field(default_factory=Comparison)
    scored: int = 0
    failures: int = 0
    span: int = 0
    span_before: int = 0
    last_failure: str = ""
    reference_failures: int = 0
    slices: Mapping[str, Slice] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, Group]] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """What to do, why as a sentence, and the figures that it rests on."""

    action: Action
    reason: str
    figures: Mapping[str, float]


def decide(policy: Rollout, evidence: Evidence, gates: Gates | None = None) -> Decision:
    """What follows from the evidence; may be asked as often as one likes.

    `gates` declare slices and limits of fairness.

    >>> decide(Rollout(), Evidence(Stage.CANARY, "b", "a", "log_loss", scored=40, failures=40)).action
    <Action.ROLL_BACK: 'roll_back'>
    >>> decide(Rollout(), Evidence(Stage.SHADOW, "b", "a", "log_loss")).reason
    'model b is compared with model a: 0 of 200 outcomes'
    """
    here, whole = evidence.here, evidence.here.merged(evidence.before)
    names = f"model {evidence.candidate}", f"model {evidence.reference}"
    figures = whole.figures(policy.alpha, policy.least_outcomes)
    figures |= {"scored": float(evidence.scored), "failures": float(evidence.failures)}

    def decision(action: Action, reason: str) -> Decision:
        return Decision(action, reason, figures)

    out = Action.REFUSE if evidence.stage is Stage.SHADOW else Action.ROLL_BACK
    oftener = evidence.failures > evidence.reference_failures
    if oftener and more_often(evidence.failures, evidence.scored, policy.most_failures, policy.alpha):
        told = f" ({evidence.last_failure})" if evidence.last_failure else ""
        return decision(
            out,
            f"{names[0]} fails where {names[1]} answers: on {evidence.failures:,} of {evidence.scored:,} events{told}",
        )
    _, most = here.interval(policy.alpha / _STAGES, policy.least_outcomes)
    if most < min(policy.margin, 0.0):
        return decision(out, f"{names[0]} is worse than {names[1]}: {_compared(evidence.metric, here)}")
    found = _apart(policy, evidence, gates or Gates())
    if found.shown:
        figures |= found.figures
        return decision(out, f"{names[0]} is worse than {names[1]} {found.shown}, {_SURE}")
    span, count = span_or_count(_length(policy, evidence.stage))
    missing = max(count, policy.least_outcomes) - here.count
    tired = evidence.span + evidence.span_before >= duration(policy.give_up)
    if missing > 0 and not tired:
        needed = max(count, policy.least_outcomes)
        return decision(Action.HOLD, f"{names[0]} is compared with {names[1]}: {here.count:,} of {needed:,} outcomes")
    if evidence.span < span and not tired:
        share = evidence.span / span
        return decision(
            Action.HOLD, f"{names[0]} is compared with {names[1]}: {share:.0%} of the stage's event time has passed"
        )
    if found.doubt and not (tired and evidence.stage is Stage.PROBATION):
        said = f"{names[0]} does worse than {names[1]} so far, which may be chance, {found.doubt}"
        return decision(out if tired else Action.HOLD, said)
    if found.unknown and not tired and whole.count < PATIENCE * max(count, policy.least_outcomes):
        return decision(Action.HOLD, f"{names[0]} is compared with {names[1]}: {found.unknown}")
    behind = here.better < min(policy.margin, 0.0)
    if evidence.stage is Stage.PROBATION and (tired or not behind):
        return decision(Action.PROMOTE, f"{names[0]} has not done worse than {names[1]}: {here.told(evidence.metric)}")
    if behind and not tired:
        said = f"{names[0]} does worse than {names[1]} so far, which may be chance"
        return decision(Action.HOLD, f"{said}: {here.told(evidence.metric)}")
    if evidence.stage is Stage.SHADOW and policy.canary > 0 and missing <= 0 and not behind:
        return decision(Action.PROMOTE, f"{names[0]} does not do worse than {names[1]}: {here.told(evidence.metric)}")
    least, _ = whole.interval(policy.alpha, policy.least_outcomes)
    if missing <= 0 and least > policy.margin:
        return decision(Action.PROMOTE, f"{names[0]} is better than {names[1]}: {_compared(evidence.metric, whole)}")
    if tired:
        days = (evidence.span + evidence.span_before) / 86_400_000_000
        reason = f"{names[0]} was not shown to be better than {names[1]} in {days:.1f} days of event time"
        return decision(out, f"{reason}: {whole.told(evidence.metric)}")
    return decision(
        Action.HOLD, f"{names[0]} is not shown to be better than {names[1]} yet: {whole.told(evidence.metric)}"
    )


def _length(policy: Rollout, stage: Stage) -> str | timedelta | int:
    lengths = {Stage.SHADOW: policy.shadow, Stage.CANARY: policy.canary_for, Stage.PROBATION: policy.probation}
    return lengths[stage]


def _apart(policy: Rollout, evidence: Evidence, gates: Gates) -> Finding:
    """What slices and groups say; they share an error as large as that of all events together."""
    alpha = policy.alpha / _STAGES / (bool(gates.slices) + bool(gates.sensitive) or 1)
    slices = look_at_slices(gates, evidence.metric, evidence.slices, alpha, policy.most_failures)
    groups = look_at_groups(gates, evidence.groups, alpha)
    both = (filter(None, pair) for pair in ((slices.shown, groups.shown), (slices.doubt, groups.doubt)))
    shown, doubt = ("; ".join(said) for said in both)
    return Finding(shown, doubt, slices.unknown, {**slices.figures, **groups.figures})


_SURE = "more than chance explains at any number of looks"


def _compared(metric: str, found: Comparison) -> str:
    return f"{found.told(metric)}, {_SURE}"
