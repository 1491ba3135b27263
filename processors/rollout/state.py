"""Which model serves, and in which role: folded from the records of the rollout log, in their order."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from tidemill.schemas.errors import ModelError, nearest


class Status(StrEnum):
    """What a record of the rollout log says of a version, and a version's status after it."""

    SHADOW = "shadow"
    CANARY = "canary"
    CHAMPION = "champion"
    RETIRED = "retired"
    REFUSED = "refused"
    ROLLED_BACK = "rolled_back"


TRANSITIONS: Mapping[Status | None, frozenset[Status]] = {
    None: frozenset({Status.SHADOW, Status.CANARY, Status.CHAMPION, Status.REFUSED}),
    Status.SHADOW: frozenset({Status.CANARY, Status.CHAMPION, Status.RETIRED, Status.REFUSED}),
    Status.CANARY: frozenset({Status.CANARY, Status.SHADOW, Status.CHAMPION, Status.RETIRED, Status.ROLLED_BACK}),
    Status.CHAMPION: frozenset({Status.CHAMPION}),
    Status.RETIRED: frozenset({Status.SHADOW, Status.CANARY, Status.CHAMPION, Status.ROLLED_BACK}),
    Status.ROLLED_BACK: frozenset({Status.SHADOW, Status.CHAMPION}),
    Status.REFUSED: frozenset({Status.SHADOW, Status.REFUSED}),
}
"""What may follow on a version's status; None is a version that was never announced. A champion ends only by another
one's becoming champion, which retires it: so there is always one, once there was one. What the gates refused can come
back only as a shadow, after it has passed them.
"""


@dataclass(frozen=True)
class Standing:
    """How a version stands: its status, since which record and time, and that record.

    `trail` are the records that it came here by since it was last a shadow, this one included: over these stages it is
    compared with the champion.
    """

    version: str
    status: Status
    since: int
    at: datetime
    share: float
    event: Mapping[str, Any] = field(repr=False, compare=False)
    trail: tuple[int, ...] = ()


@dataclass(frozen=True)
class Rollout:
    """The roles after some records; made by `Rollout.of`, never changed.

    A record that says what `TRANSITIONS` does not allow, or a second canary beside the first, changes nothing and is
    listed in `passed_over`: all readers of the log pass over the same ones.
    """

    records: tuple[Mapping[str, Any], ...] = ()
    versions: Mapping[str, Standing] = field(default_factory=dict)
    """By version, in the order in which they were first announced."""
    champions: tuple[str, ...] = ()
    """Every version that was champion, in the order in which each last became it; the last one is."""
    passed_over: tuple[str, ...] = ()

    @staticmethod
    def of(records: Iterable[Mapping[str, Any]]) -> "Rollout":
        """Fold records of P.models, in the order of the log.

        >>> from datetime import UTC
        >>> when = datetime(2026, 1, 1, tzinfo=UTC)
        >>> def said(version, status, share=0.0):
        ...     return {"model_version": version, "status": status, "share": share, "announced_at": when}
        >>> rollout = Rollout.of([said("a", "champion"), said("b", "shadow"), said("b", "canary", 0.1)])
        >>> rollout.champion.version, rollout.canary.version, rollout.canary.share, rollout.shadows
        ('a', 'b', 0.1, ())
        >>> Rollout.of([*rollout.records, said("b", "champion")]).former.version
        'a'
        """
        made = Rollout()
        for record in records:
            made = made.then(record)
        return made

    def then(self, record: Mapping[str, Any]) -> "Rollout":
        """The roles after one more record."""
        records = (*self.records, record)
        fault = self.fault(record)
        if fault is not None:
            return Rollout(records, self.versions, self.champions, (*self.passed_over, fault))
        version, status = record["model_version"], Status(record["status"])
        versions = dict(self.versions)
        place = record.get("sequence", -1)
        since, at = place if place >= 0 else len(self.records), record["announced_at"]
        champions = self.champions
        if status is Status.CHAMPION:
            before = self.champion
            if before is not None and before.version != version:
                versions[before.version] = Standing(before.version, Status.RETIRED, since, at, 0.0, before.event)
            champions = (*(name for name in champions if name != version), version)
        share = float(record.get("share", 0.0)) if status is Status.CANARY else 0.0
        known = self.versions.get(version)
        compared = known is not None and known.status in (Status.SHADOW, Status.CANARY)
        trail = (*known.trail, since) if known is not None and compared else (since,)
        versions[version] = Standing(version, status, since, at, share, record, trail)
        return Rollout(records, versions, champions, self.passed_over)

    def fault(self, record: Mapping[str, Any]) -> str | None:
        """Why this record may not come next, as a sentence; None if it may."""
        version, status = record["model_version"], Status(record["status"])
        standing = self.versions.get(version)
        now = None if standing is None else standing.status
        if status not in TRANSITIONS[now]:
            stands = "was never announced" if now is None else f"is {now.replace('_', ' ')}"
            allowed = ", ".join(sorted(TRANSITIONS[now])).replace("_", " ")
            return f"model {version} {stands} and cannot become {status.replace('_', ' ')}; it can become: {allowed}"
        canary = self.canary
        if status is Status.CANARY and canary is not None and canary.version != version:
            return f"model {version} cannot become canary: model {canary.version} is; retire it or roll it back first"
        if status is Status.CANARY and not 0 < float(record.get("share", 0.0)) < 1:
            return f"model {version} cannot become canary for a share of {record.get('share', 0.0)}: expected 0 to 1"
        return None

    @property
    def length(self) -> int:
        """A place in the log after those of all records: no standing's `since` is as great."""
        places = (record.get("sequence", -1) for record in self.records[-1:])
        return max(len(self.records), 1 + max(places, default=-1))

    @property
    def champion(self) -> Standing | None:
        """What answers; None before the first one."""
        return self.versions[self.champions[-1]] if self.champions else None

    @property
    def canary(self) -> Standing | None:
        """What answers its share of keys, if there is one."""
        return next((s for s in self.versions.values() if s.status is Status.CANARY), None)

    @property
    def shadows(self) -> tuple[Standing, ...]:
        """What is scored beside and answers nothing, longest in that role first."""
        found = [s for s in self.versions.values() if s.status is Status.SHADOW]
        return tuple(sorted(found, key=lambda s: s.since))

    @property
    def former(self) -> Standing | None:
        """The champion that a rollback goes back to: the last one before this one that was not itself rolled back."""
        stand = (self.versions[name] for name in reversed(self.champions[:-1]))
        return next((s for s in stand if s.status in (Status.RETIRED, Status.SHADOW)), None)

    @property
    def probation(self) -> tuple[Standing, Standing] | None:
        """The new champion and the former one, where that is still scored to be gone back to."""
        champion, former = self.champion, self.former
        on = champion is not None and former is not None and former.status is Status.SHADOW
        return (champion, former) if on and champion is not None and former is not None else None

    def at(self, time: datetime) -> "Rollout":
        """The roles at this time: after the last record that was not announced later.

        Records' times never go back in a log that `RolloutLog` writes.
        """
        count = max((n for n, r in enumerate(self.records, 1) if r["announced_at"] <= time), default=0)
        return Rollout.of(self.records[:count])

    def standing(self, version: str) -> Standing:
        """How a version stands; raises ModelError if it was never announced."""
        if version not in self.versions:
            raise ModelError(f"no model {version!r} was announced{nearest(version, self.versions)}")
        return self.versions[version]
