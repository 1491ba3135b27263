"""Axes: where a value stands, and which round values to write beside it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from tidemill.report.distribution import round_step
from tidemill.report.words import DAY, instant

HOUR = DAY // 24
_STEPS = (60_000, 300_000, 900_000, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY)
_MONTHS = (1, 2, 3, 6, 12, 24, 60, 120, 600)
_LONGEST_DAYS = 45


@dataclass(frozen=True)
class Scale:
    """From values in [low, high] to coordinates in [start, end].

    >>> Scale(0, 10, 100, 200).at(2.5)
    125.0
    """

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The coordinate of a value; what lies outside stands at the edge."""
        if self.high == self.low:
            return (self.start + self.end) / 2
        part = (value - self.low) / (self.high - self.low)
        return self.start + min(max(part, 0.0), 1.0) * (self.end - self.start)


def ticks(low: float, high: float, most: int = 4) -> list[float]:
    """Round values within a range.

    >>> ticks(0.27, 0.34)
    [0.28, 0.3, 0.32, 0.34]
    """
    if high <= low:
        return [low]
    step = round_step((high - low) / most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def padded(low: float, high: float, share: float = 0.08) -> tuple[float, float]:
    """A range with some room on both sides."""
    room = (high - low) * share or abs(high) * share or 0.5
    return low - room, high + room


def time_ticks(start: int, end: int, most: int = 7) -> list[tuple[int, str]]:
    """Round times within a stretch, in UTC, with what to write there; the first of a year says the year.

    >>> [label for _, label in time_ticks(1_356_998_400_000, 1_388_534_400_000)]
    ['2013', 'Mar', 'May', 'Jul', 'Sep', 'Nov', '2014']
    """
    span = end - start
    step = next((step for step in _STEPS if span / step <= most), None)
    if step is None or span > _LONGEST_DAYS * DAY * most / 7:
        return [(at, _month(at)) for at in _months(start, end, most)]
    first = -(-start // step)
    form = "%-d %b" if step >= DAY else "%H:%M"
    made = []
    for place in range(first, end // step + 1):
        at = place * step
        midnight = step < DAY and at % DAY == 0
        made.append((at, instant(at).strftime("%-d %b" if midnight else form)))
    return made


def _months(start: int, end: int, most: int) -> Iterator[int]:
    begin = instant(start)
    months = (end - start) / (DAY * 30.44)
    size = next((size for size in _MONTHS if months / size <= most), _MONTHS[-1])
    place = -(-(begin.year * 12 + begin.month - 1) // size) * size
    while place < 9_999 * 12:
        at = round(datetime(place // 12, place % 12 + 1, 1, tzinfo=UTC).timestamp() * 1000)
        if at > end:
            return
        if at >= start:
            yield at
        place += size


def _month(at: int) -> str:
    when = instant(at)
    return str(when.year) if when.month == 1 else when.strftime("%b")
