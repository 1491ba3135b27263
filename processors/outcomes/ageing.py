"""What is old enough to be forgotten, without looking at all that is not."""

import numpy as np
from numpy.typing import NDArray

NEVER = int(np.iinfo(np.int64).min)
SPARE = 1 << 18
"""How many rows of a partition are kept although their time is over: whatever comes for them is still found then."""
_STEPS = 64
_SHORTEST = 1_000_000


class Ageing:
    """Slots by event time, in steps of a 64th of how long they are kept.

    Steps are forgotten as a whole and in order, the oldest first, once they are over and more than `spare` slots are
    over: so that a log of any order, such as one that is read again from its beginning, finds what it looks for as long
    as there is room, and memory is bounded all the same.
    """

    def __init__(self, kept: int, spare: int = SPARE) -> None:
        self._kept, self._spare = kept, spare
        self._step = max(kept // _STEPS, _SHORTEST)
        self._slots: dict[int, list[NDArray[np.int32]]] = {}
        self._counts: dict[int, int] = {}
        self.forgotten = NEVER
        """The last step that was forgotten: nothing of it or of those before it is kept."""

    def add(self, slots: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        """Slots with their times, in microseconds."""
        if not len(slots):
            return
        steps = times // self._step
        order = np.argsort(steps, kind="stable")
        numbers, starts = np.unique(steps[order], return_index=True)
        for number, here in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
            self._slots.setdefault(number, []).append(slots[here].astype(np.int32))
            self._counts[number] = self._counts.get(number, 0) + len(here)

    def step_of(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        """The steps that the times are in."""
        return times // self._step

    def forget(self, clock: int) -> list[tuple[int, NDArray[np.int64]]]:
        """The steps to be forgotten at this time, with their slots as they were added."""
        over = [step for step in self._counts if (step + 1) * self._step + self._kept <= clock]
        excess = sum(self._counts[step] for step in over) - self._spare
        gone = []
        for step in sorted(over):
            if step > self.forgotten and excess <= 0:
                break
            excess -= self._counts.pop(step)
            self.forgotten = max(self.forgotten, step)
            gone.append(step)
        gone += [step for step in sorted(self._counts) if step <= self.forgotten]
        for step in gone:
            self._counts.pop(step, None)
        return [(step, np.concatenate(self._slots.pop(step)).astype(np.int64)) for step in gone]

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has reserved."""
        return 4 * sum(self._counts.values())
