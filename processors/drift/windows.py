"""Windows that are being put together from the profiles of partitions, and when one is complete."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from tidemill.processors.drift.incident import Span


class Mergeable(Protocol):
    """What adds up: in any order and in any cut, to the bit."""

    def merge(self, other: Self) -> Self:
        """Both together."""
        ...


T = TypeVar("T", bound=Mergeable)


@dataclass(frozen=True, order=True)
class WindowKey:
    """Which profiles belong together; times are event time in epoch milliseconds."""

    start: int
    end: int
    kind: str
    slice: str
    model_version: str

    def __str__(self) -> str:
        return json.dumps([self.start, self.end, self.kind, self.slice, self.model_version])

    @classmethod
    def parse(cls, text: str) -> "WindowKey":
        """Back from `str`."""
        return cls(*json.loads(text))


@dataclass(frozen=True)
class Delta(Generic[T]):
    """What a partition adds to a window.

    `place` is where the record stands on the topic of profiles: partition and offset; `seen` is its timestamp in epoch
    milliseconds. `source` is the partition that speaks, and `time` the event time that it had reached with these rows.
    A source's deltas come window by window: one that has reached a later window adds nothing to those before.
    """

    key: WindowKey
    place: tuple[int, int]
    seen: int
    source: int
    time: int
    profile: T


@dataclass
class Merged(Generic[T]):
    """A window's profile so far, and the offset of the last record in it, by partition of the topic of profiles."""

    profile: T
    places: dict[int, int]


@dataclass
class _Source:
    time: int
    seen: int


class Windows(Generic[T]):
    """Profiles by window. A window of a kind is complete when every active partition has passed its end and the grace.

    A partition has passed a time when its own records say so, and what it adds to a window after that is late: it is
    left out. So a window's content is decided by each partition's records alone, not by how those of several mix.

    A partition is active unless its last record is older by `idle` than the newest; one that never spoke counts from
    the first record of any. With `idle` None all partitions are waited for. All times are those of records and events;
    only `silence` brings in a clock, for when no record comes at all.

    Deltas that are read again are harmless: a window knows the last that it took in, by partition of their topic.
    """

    def __init__(self, partitions: int, grace: Mapping[str, int], idle: int | None) -> None:
        self._partitions, self._grace, self._idle = partitions, grace, idle
        self._sources: dict[int, _Source] = {}
        self._began: int | None = None
        self._now = 0
        self.places: dict[int, int] = {}
        """The offset of the last record that was read, by partition of the topic of profiles."""
        self.closed: dict[str, int] = {}
        """By kind, the end of the last window that was closed."""
        self.open: dict[WindowKey, Merged[T]] = {}
        self.late = 0

    def add(self, delta: Delta[T]) -> bool:
        """Take a delta in; whether it has changed a window."""
        partition, offset = delta.place
        if self.has(delta.place):
            return False
        self.places[partition] = offset
        self._began = delta.seen if self._began is None else self._began
        self._now = max(self._now, delta.seen)
        source = self._sources.setdefault(delta.source, _Source(delta.key.start, delta.seen))
        late = source.time >= self._due(delta.key) or delta.key.end <= self.closed.get(delta.key.kind, 0)
        source.time, source.seen = max(source.time, delta.time), max(source.seen, delta.seen)
        if late:
            self.late += 1
            return False
        merged = self.open.get(delta.key)
        if merged is None:
            self.open[delta.key] = Merged(delta.profile, {partition: offset})
            return True
        if merged.places.get(partition, -1) >= offset:
            return False
        merged.profile = merged.profile.merge(delta.profile)
        merged.places[partition] = offset
        return True

    def has(self, place: tuple[int, int]) -> bool:
        """Whether this record was read."""
        return place[1] <= self.places.get(place[0], -1)

    def silence(self, milliseconds: int) -> None:
        """No record has come for so long since the last one."""
        newest = max((source.seen for source in self._sources.values()), default=0)
        self._now = max(self._now, newest + milliseconds)

    def due(self) -> Iterator[tuple[Span, str, dict[WindowKey, Merged[T]]]]:
        """The complete windows, oldest first: span, kind and profiles. Each is closed when the next is asked for."""
        watermark = self.watermark()
        if watermark is None:
            return
        ends = sorted({(key.end, key.start, key.kind) for key in self.open if self._due(key) <= watermark})
        for end, start, kind in ends:
            span = Span(start, end)
            mine = {
                key: self.open[key] for key in sorted(self.open) if (key.start, key.end, key.kind) == (start, end, kind)
            }
            yield span, kind, mine
            self.closed[kind] = max(end, self.closed.get(kind, 0))
            for key in mine:
                del self.open[key]

    def watermark(self) -> int | None:
        """The event time that every active partition has passed; None while that cannot be said."""
        if not self._sources or self._began is None:
            return None
        if len(self._sources) < self._partitions and (self._idle is None or self._now - self._began <= self._idle):
            return None
        active = [s.time for s in self._sources.values() if self._idle is None or self._now - s.seen <= self._idle]
        return min(active) if active else max(s.time for s in self._sources.values())

    def _due(self, key: WindowKey) -> int:
        return key.end + self._grace.get(key.kind, 0)

    def progress(self) -> dict[str, Any]:
        """How far it has come, as JSON can hold it; the open windows are saved by themselves."""
        return {
            "places": sorted(self.places.items()),
            "began": self._began,
            "now": self._now,
            "closed": dict(self.closed),
            "late": self.late,
            "sources": [[partition, s.time, s.seen] for partition, s in sorted(self._sources.items())],
        }

    def restore(self, progress: Mapping[str, Any], windows: Mapping[WindowKey, Merged[T]]) -> None:
        """Begin with what was saved; windows that were closed meanwhile are dropped."""
        self.places, self._began, self._now = dict(progress["places"]), progress["began"], progress["now"]
        self.closed, self.late = dict(progress["closed"]), progress["late"]
        self._sources = {partition: _Source(time, seen) for partition, time, seen in progress["sources"]}
        self.open = {key: merged for key, merged in windows.items() if key.end > self.closed.get(key.kind, 0)}
