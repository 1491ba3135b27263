"""One incident: the alarms of one detector on one thing, from the first until it is quiet."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

Series = tuple[str, str, str, str]
"""What an incident is about: kind, subject, slice and detector."""
Severity = Literal["warning", "critical"]
Offsets = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Span:
    """A stretch of event time in epoch milliseconds, from `start` up to `end`, which is not included."""

    start: int
    end: int


@dataclass(frozen=True)
class Alarm:
    """What a detector has found in a window; `evidence` is JSON."""

    kind: str
    subject: str
    slice: str
    detector: str
    severity: Severity
    statistic: float
    threshold: float
    message: str
    effect: float | None = None
    estimated: bool = False
    reference: str = ""
    evidence: str = "{}"

    @property
    def series(self) -> Series:
        """What it is about: alarms with the same series belong to one incident."""
        return self.kind, self.subject, self.slice, self.detector


@dataclass(frozen=True)
class Action:
    """What somebody does about an incident; `place` is its offset on the topic of actions, `until` event time."""

    id: str
    action: Literal["mute", "unmute", "acknowledge"]
    who: str
    until: int | None
    reason: str
    place: int


@dataclass(frozen=True)
class Incident:
    """An incident as it stands, after the window that ends at `applied`.

    `alarm` is the last one, found in `span`. `told_severity` and `told_statistic` are those of the last record about
    it, since when `silent` windows have found it again; it was not found in the last `quiet` ones.
    """

    id: str
    alarm: Alarm
    span: Span
    offsets: Offsets
    opened_at: int
    updated_at: int
    applied: int
    state: Literal["opened", "updated", "resolved"] = "opened"
    revision: int = -1
    told_severity: Severity = "warning"
    told_statistic: float = 0.0
    silent: int = 0
    quiet: int = 0
    muted: bool = False
    acknowledged_by: str | None = None
    note: str = ""
    acted: int = -1

    @classmethod
    def opened(cls, identity: str, alarm: Alarm, span: Span, offsets: Offsets) -> Self:
        """A new one."""
        return cls(identity, alarm, span, offsets, span.end, span.end, span.end)

    @property
    def series(self) -> Series:
        """What it is about."""
        return self.alarm.series

    def found_in(self, span: Span, alarm: Alarm, offsets: Offsets) -> Self:
        """It was found again."""
        return replace(
            self,
            alarm=alarm,
            span=span,
            offsets=offsets,
            applied=span.end,
            silent=self.silent + 1,
            quiet=0,
        )

    def after(self, action: Action) -> Self:
        """It was acted upon."""
        acknowledged = action.who if action.action == "acknowledge" else self.acknowledged_by
        muted = self.muted if action.action == "acknowledge" else action.action == "mute"
        return replace(self, acknowledged_by=acknowledged, muted=muted, note=action.reason, acted=action.place)

    def told(self, state: Literal["opened", "updated", "resolved"], at: int) -> Self:
        """As it goes out, with the next revision."""
        return replace(
            self,
            state=state,
            revision=self.revision + 1,
            updated_at=at,
            told_severity=self.alarm.severity,
            told_statistic=self.alarm.statistic,
            silent=0,
        )

    def saved(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def of(cls, saved: Mapping[str, Any]) -> Self:
        """Back from `saved`."""
        offsets = tuple((a, b, c) for a, b, c in saved["offsets"])
        return cls(**{**saved, "alarm": Alarm(**saved["alarm"]), "span": Span(**saved["span"]), "offsets": offsets})
