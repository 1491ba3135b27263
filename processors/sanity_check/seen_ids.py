"""Which event ids a partition has seen lately: the state behind `unique`."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.growth import grown
from tidemill.processors.key_index import KeyIndex
from tidemill.processors.sanity_check import seen_kernel as kernel

_SCHEMA = pa.schema([pa.field("id", pa.string(), nullable=False), pa.field("seen", pa.int64(), nullable=False)])
# Of how many slots, at least, is asked after each batch whether their ids are out of date.
_SWEPT = 1024


class SeenIds:
    """Ids with the time at which each was first seen, for `within` microseconds of stream time.

    Stream time is the greatest record timestamp so far on the partition, so that whether an id is a duplicate
    depends on the log alone and never on when it is read. An id is a duplicate until stream time has moved more than
    `within` past it; when its memory is freed does not matter.

    >>> seen = SeenIds(within=100)
    >>> seen.check(pa.array(["a", "b", "a"]), np.array([0, 1, 2])).tolist()
    [False, False, True]
    >>> seen.check(pa.array(["a"]), np.array([101])).tolist()
    [False]
    """

    def __init__(self, within: int) -> None:
        self._within = within
        self._ids = KeyIndex()
        self._seen: NDArray[np.int64] = np.full(0, kernel.NEVER, np.int64)
        self._dirty: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._written: NDArray[np.int64] = np.zeros(0, np.int64)
        self._registers = np.array([kernel.NEVER, 0], np.int64)
        self._swept = 0

    @property
    def stream_time(self) -> int:
        """The greatest timestamp so far; to be put back with the ids."""
        return int(self._registers[kernel.CLOCK])

    @stream_time.setter
    def stream_time(self, time: int) -> None:
        self._registers[kernel.CLOCK] = time

    def check(self, ids: pa.Array, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say for each id, in log order, whether it is a duplicate; the others are remembered. No id is null."""
        slots = self._find(ids)
        needed = int(self._registers[kernel.WRITTEN]) + len(slots)
        if needed > len(self._written):
            self._written = grown(self._written, needed, 0)
        duplicate = np.zeros(len(slots), np.bool_)
        kernel.check(slots, times, self._within, self._seen, self._dirty, self._written, self._registers, duplicate)
        self._sweep(len(slots))
        return duplicate

    def changed(self) -> NDArray[np.int64]:
        """The slots of the ids that are new since the last call."""
        slots: NDArray[np.int64] = np.unique(self._written[: self._registers[kernel.WRITTEN]])
        self._registers[kernel.WRITTEN] = 0
        slots = slots[self._dirty[slots] == 1]
        self._dirty[slots] = 0
        return slots

    def alive(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `slots` hold an id that is remembered."""
        return np.asarray(self._seen[slots] >= self._oldest)

    def rows(self, slots: NDArray[np.int64]) -> pa.RecordBatch:
        """The ids in these slots and when each was seen."""
        return pa.record_batch([self._ids.take(slots), pa.array(self._seen[slots])], schema=_SCHEMA)

    def apply(self, rows: pa.RecordBatch) -> NDArray[np.int64]:
        """Remember the ids of `rows` again."""
        slots = self._find(rows["id"])
        # Of an id that is there twice, the later row.
        self._seen[slots] = rows["seen"].to_numpy()
        self._sweep(len(slots))
        return slots

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has reserved."""
        return self._ids.nbytes + self._seen.nbytes + self._dirty.nbytes + self._written.nbytes

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def _oldest(self) -> int:
        return int(kernel.oldest(self._registers[kernel.CLOCK], self._within))

    def _find(self, ids: pa.Array) -> NDArray[np.int64]:
        slots = self._ids.find(ids)
        if self._ids.used > len(self._seen):
            self._seen = grown(self._seen, self._ids.used, kernel.NEVER)
            self._dirty = grown(self._dirty, self._ids.used, 0)
        return slots

    def _sweep(self, rows: int) -> None:
        """Free what is out of date, of twice as many slots as there were rows: no batch pays for all of them."""
        used = self._ids.used
        start, stop = self._swept, min(used, self._swept + max(_SWEPT, 2 * rows))
        self._swept = stop if stop < used else 0
        slots = kernel.sweep(start, stop, self._oldest, self._seen, self._dirty)
        if len(slots):
            self._ids.free(slots)
