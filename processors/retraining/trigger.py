"""A trigger: why a new model is wanted, or why it is not."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Cause = Literal["drift_alert", "performance", "schedule", "labels", "request"]
Suppression = Literal["data_fault", "quorum", "running", "cooldown", "budget", "few_labels"]


@dataclass(frozen=True)
class Request:
    """Somebody asks for a new model; `since` is event time in epoch milliseconds, `place` the request's offset."""

    id: str
    who: str
    reason: str
    since: int | None
    place: int


@dataclass(frozen=True)
class Trigger:
    """What a job follows from; `suppressed_by` is None, or says why none does. Times are event time in milliseconds."""

    id: str
    cause: Cause
    at: int
    reason: str
    since: int | None = None
    reference: str = ""
    suppressed_by: Suppression | None = None
    who: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fired(self) -> bool:
        """Whether a job follows."""
        return self.suppressed_by is None


def trigger_id(pipeline: str, *parts: object) -> str:
    """The id of what has this cause and this evidence.

    >>> trigger_id("flights", "request", "r1") == trigger_id("flights", "request", "r1")
    True
    """
    return hashlib.sha256(json.dumps([pipeline, *parts]).encode()).hexdigest()[:16]
