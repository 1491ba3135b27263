"""Who is compared with whom, as the rollout log has it."""

from dataclasses import dataclass

from tidemill.processors.rollout.policy import Stage
from tidemill.processors.rollout.state import Rollout


@dataclass(frozen=True)
class Matchup:
    """A candidate and its reference; rows of P.shadow-predictions with one of these `stages` are about them.

    The last of the stages is the one that it is in.
    """

    stage: Stage
    candidate: str
    reference: str
    stages: tuple[int, ...]


def matchups(rollout: Rollout, prior: str | None) -> list[Matchup]:
    """All of them: a canary first, then a new champion on probation, then shadows by age.

    `prior` is the version that answers while there is no champion, None if nothing does.

    >>> from datetime import UTC, datetime
    >>> when = datetime(2026, 1, 1, tzinfo=UTC)
    >>> said = [{"model_version": v, "status": s, "share": 0.1, "announced_at": when} for v, s in
    ...         [("a", "champion"), ("b", "shadow"), ("b", "canary")]]
    >>> matchups(Rollout.of(said), None)
    [Matchup(stage=<Stage.CANARY: 'canary'>, candidate='b', reference='a', stages=(1, 2))]
    """
    reference = rollout.champion.version if rollout.champion is not None else prior
    found: list[Matchup] = []
    if reference is None:
        return found
    if rollout.canary is not None:
        found.append(Matchup(Stage.CANARY, rollout.canary.version, reference, rollout.canary.trail))
    probation = rollout.probation
    if probation is not None:
        new, former = probation
        found.append(Matchup(Stage.PROBATION, new.version, former.version, (former.since,)))
    for shadow in rollout.shadows:
        if probation is None or shadow.version != probation[1].version:
            found.append(Matchup(Stage.SHADOW, shadow.version, reference, shadow.trail))
    return found
