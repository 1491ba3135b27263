"""Which event ids a partition has seen lately: the state behind `unique`."""

from collections import deque
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("seen", pa.int64(), nullable=False)])


class SeenIds:
    """Ids with the time at which each was first seen, for `within` microseconds of stream time.

    Stream time is the greatest record timestamp so far on the partition, so that whether an id is a duplicate
    depends on the log alone and never on when it is read. An id is a duplicate until stream time has moved more than
    `within` past it; when its memory is freed does not matter.

    >>> seen = SeenIds(within=100)
    >>> seen.check(["a", "b", "a"], [0, 1, 2]).tolist()
    [False, False, True]
    >>> seen.check(["a"], [101]).tolist()
    [False]
    """

    def __init__(self, within: int) -> None:
        self._within = within
        self.stream_time = int(np.iinfo(np.int64).min)
        self._slots: dict[str, int] = {}
        self._ids: list[str | None] = []
        self._times: list[int] = []
        self._free: list[int] = []
        self._by_age: deque[tuple[int, int]] = deque()
        self._changed: list[int] = []

    def check(self, ids: Sequence[str], times: Sequence[int]) -> NDArray[np.bool_]:
        """Say for each id, in log order, whether it is a duplicate; the others are remembered."""
        duplicate = np.zeros(len(ids), dtype=bool)
        for row, (key, time) in enumerate(zip(ids, times, strict=True)):
            if time > self.stream_time:
                self.stream_time = time
                self._expire()
            oldest = self.stream_time - self._within
            slot = self._slots.get(key)
            if slot is not None and self._times[slot] >= oldest:
                duplicate[row] = True
            elif time >= oldest:
                self._changed.append(self._remember(key, time))
        return duplicate

    def _remember(self, key: str, time: int) -> int:
        slot = self._slots.get(key)
        if slot is None:
            if self._free:
                slot = self._free.pop()
                self._ids[slot], self._times[slot] = key, time
            else:
                slot = len(self._ids)
                self._ids.append(key)
                self._times.append(time)
            self._slots[key] = slot
        else:
            self._times[slot] = time
        self._by_age.append((time, slot))
        return slot

    def _expire(self) -> None:
        oldest = self.stream_time - self._within
        while self._by_age and self._by_age[0][0] < oldest:
            time, slot = self._by_age.popleft()
            key = self._ids[slot]
            if key is not None and self._times[slot] == time:
                del self._slots[key]
                self._ids[slot] = None
                self._free.append(slot)

    def changed(self) -> NDArray[np.int64]:
        """The slots of the ids that are new since the last call."""
        slots = np.unique(np.array(self._changed, dtype=np.int64))
        self._changed = []
        return slots

    def alive(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `slots` hold an id."""
        return np.array([self._ids[slot] is not None for slot in slots], dtype=bool)

    def rows(self, slots: NDArray[np.int64]) -> pa.RecordBatch:
        """The ids in these slots and when each was seen."""
        ids = pa.array([self._ids[slot] for slot in slots], pa.string())
        return pa.record_batch([ids, pa.array([self._times[slot] for slot in slots], pa.int64())], schema=_SCHEMA)

    def apply(self, rows: pa.RecordBatch) -> NDArray[np.int64]:
        """Remember the ids of `rows` again."""
        pairs = zip(rows["id"].to_pylist(), rows["seen"].to_pylist(), strict=True)
        return np.array([self._remember(key, time) for key, time in pairs], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._slots)
