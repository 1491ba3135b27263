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

    A source is active unless its last record was seen earlier by more than `idle` than the newest of all; one that
    never spoke counts from the first record of any. With `idle` None all `expected` sources are waited for. When a
    record was seen is its timestamp, so the same records make the same watermark; only `silence` brings in a clock.
    """

    def __init__(self, expected: int, idle: int | None) -> None:
        self._expected, self._idle = expected, idle
        self._sources: dict[int, _Source] = {}
        self._began: int | None = None
        self._now = 0

    def time_of(self, source: int) -> int | None:
        """The time that a source has reached; None if it never spoke."""
        return self._sources[source].time if source in self._sources else None

    def advance(self, source: int, time: int, seen: int) -> None:
        """A source has reached a time, says a record of it; it never goes back."""
        self._began = seen if self._began is None else self._began
        self._now = max(self._now, seen)
        known = self._sources.setdefault(source, _Source(time, seen))
        known.time, known.seen = max(known.time, time), max(known.seen, seen)

    def silence(self, milliseconds: int) -> None:
        """No record has come for so long since the last one."""
        newest = max((source.seen for source in self._sources.values()), default=0)
        self._now = max(self._now, newest + milliseconds)

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
        sources = [[number, source.time, source.seen] for number, source in sorted(self._sources.items())]
        return {"began": self._began, "now": self._now, "sources": sources}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Begin with what was saved."""
        self._began, self._now = saved["began"], saved["now"]
        self._sources = {number: _Source(time, seen) for number, time, seen in saved["sources"]}
