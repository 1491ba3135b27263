"""The order in which a live run had the rows of a hop: read from the hop's log, for rows that are computed anew."""

from collections.abc import Iterator
from itertools import chain, islice

import numpy as np
import pyarrow as pa

from tidemill.streams.hops.block import OFFSET, PARTITION, Block, MalformedBlock, ints, select
from tidemill.streams.hops.join import find
from tidemill.streams.hops.split import SplitTask
from tidemill.streams.ports import History, LogRecord

_OFFSET_BITS = 48
_BLOCKS = 500


def in_stretches(history: History, topic: str, partition: int, end: int, size: int) -> Iterator[list[LogRecord]]:
    """The partition's records up to `end`, so many at a time; in between the history may be asked for others."""
    start = 0
    while batch := list(islice(history.read(topic, partition, start, end), size)):
        yield batch
        start = batch[-1].offset + 1


class RecordedHop:
    """One partition of a hop's topic, block by block as it stands on the log, but with the rows of a replay.

    Which rows were late across partitions is the log's to say, like the order of a key's own events; what is in them is
    not. Where the log ends, what is left is in the order that the events decide.
    """

    def __init__(self, history: History, topic: str, partition: int) -> None:
        stretches = in_stretches(history, topic, partition, history.end(topic, partition), _BLOCKS)
        self._records = chain.from_iterable(stretches)
        self._next: LogRecord | None = next(self._records, None)
        self._rows: pa.Table | None = None
        self._end = 0

    def add(self, rows: pa.Table) -> None:
        """Rows that the replay has computed for this partition of the hop."""
        self._rows = rows if self._rows is None else pa.concat_tables([self._rows, rows])

    def take(self, first: SplitTask) -> list[tuple[int, bytes]]:
        """The blocks, with offsets, whose events the replay has read."""
        found = []
        while self._next is not None:
            self._end = self._next.offset + 1
            try:
                block = Block.decode(self._next.value)
            except MalformedBlock:
                self._next = next(self._records, None)
                continue
            places = zip(ints(block.rows, PARTITION).tolist(), ints(block.rows, OFFSET).tolist(), strict=True)
            if any(offset >= first.position(p) for p, offset in places):
                break
            found.append((self._next.offset, Block(self._same(block.rows), block.source, block.marks).message()))
            self._next = next(self._records, None)
        return found

    def rest(self, first: SplitTask, partitions: int) -> tuple[int, bytes] | None:
        """What the log does not have, and that nothing more comes."""
        if self._rows is None:
            return None
        marks = {p: first.mark(p, idle=True) for p in range(partitions)}
        return self._end, Block(self._rows, "replay", marks).message()

    def _same(self, rows: pa.Table) -> pa.Table:
        """Our rows of the events that these are of, as far as there are any."""
        if self._rows is None:
            return rows.slice(0, 0)
        places, there = find(_codes(rows), _codes(self._rows))
        used = places[there]
        chosen = self._rows.take(pa.array(used))
        left = np.ones(len(self._rows), dtype=bool)
        left[used] = False
        self._rows = select(self._rows, left)
        return chosen


def _codes(rows: pa.Table) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return (ints(rows, PARTITION) << _OFFSET_BITS) | ints(rows, OFFSET)
