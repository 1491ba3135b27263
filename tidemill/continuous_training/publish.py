"""What a job made, on the rollout log: once, however often its runner tries."""

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from tidemill.pipeline import Pipeline
from tidemill.processors.rollout import Rollout
from tidemill.processors.rollout.moves import retired
from tidemill.schemas.errors import ModelError
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.memory import MemoryLog
from tidemill.streams.rollout_log import LogMoved, RolloutLog

log = logging.getLogger(__name__)
_TIMES = ("trained_from", "trained_until", "announced_at")
_ATTEMPTS = 20


def publisher(pipeline: Pipeline, connection: Connection | MemoryLog) -> Callable[[str, Mapping[str, Any]], None]:
    """A function of a job's id and its result."""
    rollouts = RolloutLog(pipeline.plan(), connection)

    def publish(job_id: str, result: Mapping[str, Any]) -> None:
        announcement = result.get("announcement")
        if announcement is None:
            return
        event = {**announcement, **{name: _time(announcement[name]) for name in _TIMES if announcement.get(name)}}
        event["announced_at"] = datetime.now(UTC)
        for _ in range(_ATTEMPTS):
            rollout = rollouts.rollout()
            if any(record.get("job_id") == job_id for record in rollout.records):
                log.info("job %s is on the rollout log already", job_id)
                return
            try:
                rollouts.append(_steps(rollout, event), expect=len(rollout.records))
            except LogMoved:
                continue
            except ModelError as error:
                # The same bytes as a model that has been here before: what became of that one holds.
                log.warning("job %s: %s", job_id, error)
                return
            return
        raise ModelError(f"job {job_id}: the rollout log of {pipeline.name} was always moved by others; try again")

    return publish


def _steps(rollout: Rollout, event: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The records to append: a first model answers at once, any other is a shadow first; refused ones are told of.

    There is one challenger at a time: a newer shadow takes the place of one that has not become a canary.
    """
    if event["status"] == "refused":
        return [event]
    if rollout.champion is None:
        return [{**event, "status": "champion", "reason": f"is the first model: {event['reason']}"}]
    version = event["model_version"]
    kept = {version} if rollout.former is None else {version, rollout.former.version}
    older = [standing.version for standing in rollout.shadows if standing.version not in kept]
    reason = f"a newer challenger, {version}, takes its place"
    return [*(step for name in older for step in retired(rollout, name, by="gates", reason=reason)), event]


def _time(given: Any) -> datetime:
    return given if isinstance(given, datetime) else datetime.fromisoformat(given)
