"""How far the event time of several sources has come, by what their own records say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass
class _Source:
    time: int
    seen: int


class Watermark:
    """The time that every active source has passed; all times are milliseconds.

    A source is a partition of events as one task sees it. It is active unless its time last moved on in a record that
    was seen earlier by more than `idle` than the newest of all; one that never spoke counts from the first record of
    any. With `idle` None all `expected` sources are waited for. When a record was seen is its timestamp, so the same
    records make the same watermark; only `silence` brings in a clock.
    """

    def __init__(self, expected: int, idle: int | None) -> None:
        self._expected, self._idle = expected, idle
        self._sources: dict[tuple[int, int], _Source] = {}
        self._began: int | None = None
        self._now = self._newest = 0

    def time_of(self, source: tuple[int, int]) -> int | None:
        """The time that a source has reached; None if it never spoke."""
        return self._sources[source].time if source in self._sources else None

    def advance(self, source: tuple[int, int], time: int, seen: int) -> None:
        """A source (task and partition) has reached a time, says a record; it never goes back."""
        self._began = seen if self._began is None else self._began
        self._newest = max(self._newest, seen)
        self._now = max(self._now, seen)
        known = self._sources.get(source)
        if known is None or known.time < time:
            self._sources[source] = _Source(time, seen)

    def silence(self, milliseconds: int) -> None:
        """No record has come for so long since the last one."""
        self._now = max(self._now, self._newest + milliseconds)

    def value(self) -> int | None:
        """The time that every active source has passed, after the last of any if none is active; None if unknown."""
        if not self._sources or self._began is None:
            return None
        patient = self._idle is None or self._now - self._began <= self._idle
        if patient and len(self._sources) < self._expected:
            return None
        active = [s.time for s in self._sources.values() if self._idle is None or self._now - s.seen <= self._idle]
        return min(active) if active else max(s.time for s in self._sources.values()) + 1

    def saved(self) -> dict[str, Any]:
        """As JSON can hold it."""
        sources = [[*pair, source.time, source.seen] for pair, source in sorted(self._sources.items())]
        return {"began": self._began, "now": self._now, "newest": self._newest, "sources": sources}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Begin with what was saved."""
        self._began, self._now, self._newest = saved["began"], saved["now"], saved["newest"]
        self._sources = {(task, partition): _Source(time, seen) for task, partition, time, seen in saved["sources"]}
