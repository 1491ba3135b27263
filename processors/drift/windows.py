"""Windows that are being put together from the profiles of partitions, and when one is complete."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, Self, TypeVar

from tidemill.processors.drift.incident import Span
from tidemill.processors.drift.profile import OutcomeBlock
from tidemill.processors.drift.watermark import Watermark


class Mergeable(Protocol):
    """What adds up: in any order and in any cut, to the bit."""

    def merge(self, other: Self) -> Self:
        """Both together."""
        ...


T = TypeVar("T", bound=Mergeable)
MOST_SLICES = 100


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
    milliseconds. `task` is the partition that speaks; it hears of events from several partitions, and `reached` is how
    far in event time each of these has come. `blocks` are outcomes in their order, which do not add up.
    """

    key: WindowKey
    place: tuple[int, int]
    seen: int
    task: int
    reached: Mapping[int, int]
    profile: T
    blocks: tuple[OutcomeBlock, ...] = ()


@dataclass
class Merged(Generic[T]):
    """A window's profile so far, and the offset of the last record in it, by partition of the topic of profiles."""

    profile: T
    places: dict[int, int]


class Windows(Generic[T]):
    """Profiles by window. One of a kind is complete when all partitions of events have passed its end and the grace.

    A partition has when every task that hears of it says so: `sources` is how many pairs of a task and a partition
    there are. What is added to a window after that is late: it is left out. The order of the records decides that, so
    the same log gives the same windows.

    Deltas that are read again are harmless: a window knows the last that it took in, by partition of their topic.

    Of the slices by one field a window holds the first `MOST_SLICES`; what is added to others is left out, and counts
    as late. A field of too many values cannot fill the memory.
    """

    def __init__(self, sources: int, grace: Mapping[str, int], idle: int | None) -> None:
        self._grace, self._watermark = grace, Watermark(sources, idle)
        self.places: dict[int, int] = {}
        """The offset of the last record that was read, by partition of the topic of profiles."""
        self.closed: dict[str, int] = {}
        """By kind, the end of the last window that was closed."""
        self.pending: dict[WindowKey, Merged[T]] = {}
        self.late = 0
        self._next: int | None = None
        self._slices: Counter[tuple[int, int, str, str, str]] = Counter()

    def add(self, delta: Delta[T]) -> bool:
        """Take a delta in; whether it has changed a window."""
        partition, offset = delta.place
        if self.has(delta.place):
            return False
        self.places[partition] = offset
        for source, time in delta.reached.items():
            self._watermark.advance((delta.task, source), time, delta.seen)
        merged = self.pending.get(delta.key)
        if delta.key.end <= self.closed.get(delta.key.kind, 0) or (merged is None and self._is_full(delta.key)):
            self.late += 1
            return False
        if merged is None:
            self.pending[delta.key] = Merged(delta.profile, {partition: offset})
            self._slices[_cut(delta.key)] += 1
            self._next = min(self._due(delta.key), self._due(delta.key) if self._next is None else self._next)
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
        self._watermark.silence(milliseconds)

    def due(self) -> Iterator[tuple[Span, str, dict[WindowKey, Merged[T]]]]:
        """The complete windows, oldest first: span, kind and profiles. Each is closed when the next is asked for."""
        passed = self._watermark.value()
        if passed is None or self._next is None or passed < self._next:
            return
        ends = sorted({(key.end, key.start, key.kind) for key in self.pending if self._due(key) <= passed})
        for end, start, kind in ends:
            span = Span(start, end)
            mine = {
                key: self.pending[key]
                for key in sorted(self.pending)
                if (key.start, key.end, key.kind) == (start, end, kind)
            }
            yield span, kind, mine
            self.closed[kind] = max(end, self.closed.get(kind, 0))
            for key in mine:
                del self.pending[key]
                self._slices.pop(_cut(key), None)
        self._next = min(map(self._due, self.pending), default=None)

    def _is_full(self, key: WindowKey) -> bool:
        return bool(key.slice) and self._slices[_cut(key)] >= MOST_SLICES

    def _due(self, key: WindowKey) -> int:
        return key.end + self._grace.get(key.kind, 0)

    def progress(self) -> dict[str, Any]:
        """How far it has come, as JSON can hold it; the open windows are saved by themselves."""
        return {
            "places": sorted(self.places.items()),
            "watermark": self._watermark.saved(),
            "closed": dict(self.closed),
            "late": self.late,
        }

    def restore(self, progress: Mapping[str, Any], windows: Mapping[WindowKey, Merged[T]]) -> None:
        """Begin with what was saved; windows that were closed meanwhile are dropped."""
        self._watermark.restore(progress["watermark"])
        self.places = dict(progress["places"])
        self.closed, self.late = dict(progress["closed"]), progress["late"]
        self.take_back({key: merged for key, merged in windows.items() if key.end > self.closed.get(key.kind, 0)})

    def take_back(self, windows: Mapping[WindowKey, Merged[T]]) -> None:
        """Begin with these open windows."""
        self.pending = dict(windows)
        self._slices = Counter(map(_cut, self.pending))
        self._next = min(map(self._due, self.pending), default=None)


def _cut(key: WindowKey) -> tuple[int, int, str, str, str]:
    """The window, and the field that it is sliced by."""
    return key.start, key.end, key.kind, key.model_version, key.slice.partition("=")[0]
