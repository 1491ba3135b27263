"""The records that move models on: what is appended to the rollout log for each step."""

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.processors.rollout.state import Rollout, Standing, Status
from tidemill.schemas.errors import ModelError

Event = dict[str, Any]


def moved(standing: Standing, status: Status, *, by: str, reason: str, share: float = 0.0) -> Event:
    """The record by which an announced version gets another status; the log fills in its place and time."""
    own = ("sequence", "previous", "announced_at")
    kept = {name: value for name, value in standing.event.items() if name not in own}
    return {**kept, "status": status.value, "share": share, "by": by, "reason": reason}


def to_canary(rollout: Rollout, version: str, share: float, *, by: str, reason: str) -> list[Event]:
    """Have a version answer a share of the keys.

    Raises:
        ModelError: it may not; see `state.TRANSITIONS`.

    """
    return _allowed(rollout, [moved(rollout.standing(version), Status.CANARY, by=by, reason=reason, share=share)])


def to_champion(rollout: Rollout, version: str, *, by: str, reason: str, probation: bool) -> list[Event]:
    """Have a version answer everything; on `probation` the champion before it stays as a shadow, to go back to.

    Raises:
        ModelError: it may not; see `state.TRANSITIONS`.

    """
    before = rollout.champion
    if before is not None and before.version == version:
        raise ModelError(f"model {version} is the champion already")
    events = [moved(rollout.standing(version), Status.CHAMPION, by=by, reason=reason)]
    if probation and before is not None:
        said = f"stays beside model {version} while that is on probation"
        events.append(moved(before, Status.SHADOW, by=by, reason=said))
    return _allowed(rollout, events)


def rolled_back(rollout: Rollout, *, by: str, reason: str) -> list[Event]:
    """Undo the newest step: take the canary out, or go back to the former champion, whichever role is the newer one.

    Raises:
        ModelError: there is nothing to go back to.

    """
    champion, canary, former = rollout.champion, rollout.canary, rollout.former
    if canary is not None and (champion is None or canary.since > champion.since or former is None):
        return [moved(canary, Status.ROLLED_BACK, by=by, reason=reason)]
    if champion is None or former is None:
        raise ModelError("there is no former champion to go back to; `tidemill models list` shows what was announced")
    back = f"is champion again: model {champion.version} was rolled back"
    return [
        moved(former, Status.CHAMPION, by=by, reason=f"{back} ({reason})" if reason else back),
        moved(champion, Status.ROLLED_BACK, by=by, reason=reason),
    ]


def retired(rollout: Rollout, version: str, *, by: str, reason: str) -> list[Event]:
    """Take a shadow or a canary out.

    Raises:
        ModelError: it is champion, or not in service.

    """
    standing = rollout.standing(version)
    if standing.status is Status.CHAMPION:
        raise ModelError(
            f"model {version} is the champion, and something must answer: promote another, or roll back, which retires"
            " it"
        )
    return _allowed(rollout, [moved(standing, Status.RETIRED, by=by, reason=reason)])


def _allowed(rollout: Rollout, events: list[Event]) -> list[Event]:
    require_allowed(rollout, events)
    return events


def require_allowed(rollout: Rollout, events: Sequence[Mapping[str, Any]]) -> Rollout:
    """The roles after these records; raises ModelError, with the first one's fault, if one may not come.

    A record that names no time has that of the record before it.
    """
    for event in events:
        fault = rollout.fault(event)
        if fault is not None:
            raise ModelError(fault)
        timed = {"announced_at": rollout.records[-1]["announced_at"], **event} if rollout.records else event
        rollout = rollout.then(timed)
    return rollout
