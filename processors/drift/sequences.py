"""Outcomes of several sources in one order, for detectors that read sequences."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from typing import Any

from tidemill.processors.drift.profile import OutcomeBlock
from tidemill.processors.drift.watermark import Watermark


@dataclass(frozen=True, order=True)
class Sequenced:
    """A block of outcomes and its place in the order: by time, then by where it stands."""

    time: int
    task: int
    offset: int
    number: int
    slice: str
    model_version: str
    block: OutcomeBlock


class Sequences:
    """Merges the tasks' blocks by label time, decided by each task's records alone, however they mix.

    A block waits until every active task has passed its time. One that is older than what its own task has sent takes
    that time: nothing is left out.
    """

    def __init__(self, expected: int, idle: int | None) -> None:
        self._watermark = Watermark(expected, idle)
        self._waiting: list[Sequenced] = []
        self._released = 0

    def add(self, block: OutcomeBlock, task: int, place: tuple[int, int], seen: int, which: tuple[str, str]) -> None:
        """A block of a record at `place` (its offset, and which block of it); `which` is slice and model version."""
        time = max(block.time, self._watermark.time_of((task, 0)) or 0, self._released)
        self._watermark.advance((task, 0), time, seen)
        heappush(self._waiting, Sequenced(time, task, *place, *which, block))

    def silence(self, milliseconds: int) -> None:
        """No record has come for so long since the last one."""
        self._watermark.silence(milliseconds)

    def due(self) -> Iterator[Sequenced]:
        """The blocks whose turn has come, in order."""
        passed = self._watermark.value()
        while passed is not None and self._waiting and self._waiting[0].time < passed:
            block = heappop(self._waiting)
            self._released = block.time
            yield block

    def saved(self) -> dict[str, Any]:
        """As JSON can hold it."""
        waiting = [asdict(each) for each in sorted(self._waiting)]
        return {"watermark": self._watermark.saved(), "waiting": waiting, "released": self._released}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Begin with what was saved."""
        self._watermark.restore(saved["watermark"])
        self._released = saved["released"]
        self._waiting = [Sequenced(**{**each, "block": OutcomeBlock(**each["block"])}) for each in saved["waiting"]]
