"""One sequential detector at work on the outcomes of one slice and model, in blocks; its state can be kept as JSON."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.processors.drift.detectors import Sequential
from tidemill.processors.drift.shiryaev_roberts import ShiryaevRoberts

_MOST_MARKS = 128
_MOST_BLOCKS = 2_000
_RECENT_ROWS = 100


@dataclass(frozen=True)
class Level:
    """The mean of some outcomes: their sum, and how many they are."""

    total: float
    rows: int

    @property
    def mean(self) -> float:
        """0 of none."""
        return self.total / self.rows if self.rows else 0.0


@dataclass(frozen=True)
class Shift:
    """What led to an alarm: the levels before and after, and the time from which on it is the new one.

    `since` is the label time of the block in which the change most likely began; for a detector that does not estimate
    it, of the block before the last hundred rows. `evidence` and `limit` are the detector's own, where it has them.
    """

    before: Level
    after: Level
    since: int
    estimated: bool
    evidence: float | None = None
    limit: float | None = None


class Monitor:
    """Feeds a detector, and remembers enough of the sequence to say what has changed when it fires.

    Detectors of libraries cannot be asked for their state, so their last blocks are kept and fed again: at most 2,000,
    the older half of which is then dropped, and the detector begins again with the rest. It is so with or without a
    restart: what a monitor answers depends on the blocks alone.
    """

    def __init__(self, make: Callable[[], Sequential]) -> None:
        self._make = make
        self._detector = make()
        self._marks: list[list[float]] = []
        self._blocks: list[tuple[float, int]] = []
        self._rows, self._total = 0, 0.0

    @property
    def _own(self) -> ShiryaevRoberts | None:
        inner = self._detector.detector
        return inner if isinstance(inner, ShiryaevRoberts) else None

    def expect(self, rows_per_alarm: float, times: float = 1.0) -> None:
        """Have at least so many rows between false alarms, or as were asked for, and so many `times` as many.

        Only the shipped detector can be told.
        """
        own = self._own
        if own is not None:
            own.threshold = times * max(own.rows_per_alarm, rows_per_alarm)

    def feed(self, total: float, rows: int, time: int) -> Shift | None:
        """Take a block, with the label time of its last outcome; what has shifted if it brings an alarm."""
        self._marks.append([self._rows, self._total, time])
        self._detector.update_block(total, rows)
        self._rows += rows
        self._total += total
        if self._detector.drift_detected:
            shift = self._shift()
            self._marks.clear()
            self._blocks.clear()
            if self._own is None:
                self._detector = self._make()
            return shift
        if len(self._marks) > _MOST_MARKS:
            # Every other one of the older half: the recent past is known to the block.
            half = _MOST_MARKS // 2
            self._marks = self._marks[:half:2] + self._marks[half:]
        if self._own is None:
            self._blocks.append((total, rows))
            if len(self._blocks) >= _MOST_BLOCKS:
                self._blocks = self._blocks[_MOST_BLOCKS // 2 :]
                self._replay()
        return None

    def _shift(self) -> Shift:
        own = self._own
        known = own.change_point if own is not None else None
        point = self._rows - _RECENT_ROWS if known is None else known
        first = self._marks[0]
        mark = next((mark for mark in reversed(self._marks) if mark[0] <= point), first)
        before = Level(mark[1] - first[1], int(mark[0] - first[0]))
        after = Level(self._total - mark[1], int(self._rows - mark[0]))
        return Shift(
            before,
            after,
            int(mark[2]),
            known is not None,
            own.statistic if own is not None else None,
            own.threshold if own is not None else None,
        )

    def _replay(self) -> None:
        self._detector = self._make()
        for total, rows in self._blocks:
            self._detector.update_block(total, rows)

    def saved(self) -> dict[str, Any]:
        """As JSON can hold it."""
        own = self._own
        detector: Any = self._blocks if own is None else own.saved()
        return {"detector": detector, "marks": self._marks, "rows": self._rows, "total": self._total}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where a monitor of the same detector was saved."""
        self._marks = [list(mark) for mark in saved["marks"]]
        self._rows, self._total = saved["rows"], saved["total"]
        own = self._own
        if own is not None:
            own.restore(saved["detector"])
        else:
            self._blocks = [(total, rows) for total, rows in saved["detector"]]
            self._replay()
