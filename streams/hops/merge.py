"""One order for the rows of several partitions, whatever came first.

Several partitions of events feed one partition of a hop's topic, and which of them is quicker depends on the day. What
windows see must not. So rows are put in the order of (stream time of their partition at that row, partition, offset):
within a partition that is the log's own order, since stream time only grows, and across partitions it is event time as
far as that can be known. It is decided by the events alone.

A row may be released when no row before it can come any more: when it lies below the *frontier*, the least (stream
time, partition) that a partition has reached. A partition that has nothing under way is idle, and is left out. When it
comes back, its rows from before the frontier are late across partitions: they take the first place behind the frontier,
and are counted.

What is released when is decided block by block of the hop's log, never by how that was cut into batches. So a reader
that starts again at an earlier offset, with the position that it had, releases what it had not yet released and nothing
else. Rows that are held back are not kept anywhere but on the hop's log.

The frontier is a watermark in the sense of Akidau et al., "The Dataflow Model" (2015), taken as the least of its
inputs as in Flink, with idle inputs left out.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.hops import STREAM_TIME
from tidemill.streams.hops.block import INPUT, OFFSET, PARTITION, Block, ints, select

NEVER = int(np.iinfo(np.int64).min)
_Point = tuple[int, int]


class Merge:
    """The rows of one partition of a hop's topic, from `partitions` partitions of events."""

    def __init__(self, schema: pa.Schema, partitions: int, clock: Mapping[str, int], start: int) -> None:
        """`schema` is that of the rows; `clock` is what `clock` gave, and `start` the offset to read from."""
        every = range(partitions)
        self._times = {p: clock.get(f"time.{p}", NEVER) for p in every}
        self._idle = {p: bool(clock.get(f"idle.{p}", 0)) for p in every}
        self._released = {p: clock.get(f"next.{p}", 0) for p in every}
        self._arrived = dict(self._released)
        self._floors: dict[int, list[_Point]] = {p: [] for p in every}
        """By partition: from which event offset on rows are no earlier than which time."""
        for name, floor in clock.items():
            if name.startswith("floor."):
                _, p, since = name.split(".")
                self._floors[int(p)].append((int(since), floor))
        self._frontier = (clock.get("frontier_time", NEVER), clock.get("frontier_partition", -1))
        self._seen = clock.get("seen", 0)
        self._taken = start
        self._held = pa.schema([*schema, pa.field(INPUT, pa.int64())]).empty_table()
        self.late = 0
        """How many rows of the last call were late across partitions."""

    @property
    def next_input(self) -> int:
        """The first offset of the hop's log whose rows are not all released."""
        held = ints(self._held, INPUT)
        return int(held.min()) if len(held) else self._taken

    def clock(self) -> dict[str, int]:
        """All that a later start must know, besides the hop's log from `next_input` on."""
        clock = {"seen": self._seen, "frontier_time": self._frontier[0], "frontier_partition": self._frontier[1]}
        for p, time in self._times.items():
            clock |= {f"time.{p}": time, f"idle.{p}": int(self._idle[p]), f"next.{p}": self._released[p]}
            clock |= {f"floor.{p}.{since}": floor for since, floor in self._floors[p]}
        return clock

    def take(self, blocks: Sequence[tuple[int, Block]]) -> pa.Table:
        """Take in blocks with their offsets, in the log's order; returns the rows that are released by them, in order.

        Rows that were released before, and rows that come twice, are passed over.
        """
        self.late = 0
        frontiers, tables, steps = [self._frontier], [self._held], [np.zeros(len(self._held), dtype=np.int64)]
        for offset, block in blocks:
            if offset < self._taken:
                continue
            self._taken = offset + 1
            first = offset >= self._seen
            if first:
                self._seen = offset + 1
                self._advance(block)
            rows = self._placed(select(block.rows, self._is_new(block.rows)), count=first)
            frontiers.append(self._frontier)
            if len(rows):
                tables.append(rows.append_column(INPUT, pa.array(np.full(len(rows), offset))))
                steps.append(np.full(len(rows), len(frontiers) - 1, dtype=np.int64))
        return self._release(pa.concat_tables(tables), np.concatenate(steps), frontiers)

    def _is_new(self, rows: pa.Table) -> NDArray[np.bool_]:
        partition, offset = ints(rows, PARTITION), ints(rows, OFFSET)
        new = np.zeros(len(rows), dtype=bool)
        for p in np.unique(partition).tolist():
            if p in self._arrived:
                here = partition == p
                new |= here & (offset >= self._arrived[p])
                self._arrived[p] = max(self._arrived[p], int(offset[here].max()) + 1)
        return new

    def _advance(self, block: Block) -> None:
        """Move the frontier; it never goes back."""
        for p, mark in block.marks.items():
            if p not in self._times:
                continue
            if self._idle[p] and not mark.idle and self._frontier[0] > NEVER:
                self._floors[p].append((self._arrived[p], self._frontier[0] + 1))
            self._times[p] = max(self._times[p], mark.stream_time)
            self._idle[p] = mark.idle
        reached = [(max(time, self._floor(p)), p) for p, time in self._times.items()]
        awake = [point for point in reached if not self._idle[point[1]]]
        self._frontier = max(self._frontier, min(awake) if awake else max(reached))

    def _floor(self, partition: int) -> int:
        floors = self._floors[partition]
        return floors[-1][1] if floors else NEVER

    def _placed(self, rows: pa.Table, *, count: bool) -> pa.Table:
        """The rows with the times by which they are put in order."""
        partition = ints(rows, PARTITION)
        time, offset = ints(rows, STREAM_TIME), ints(rows, OFFSET)
        placed = time.copy()
        for p, floors in self._floors.items():
            for since, floor in floors:
                here = (partition == p) & (offset >= since)
                placed[here] = np.maximum(time[here], floor)
        moved = placed != time
        if not moved.any():
            return rows
        self.late += int(moved.sum()) if count else 0
        column = rows.column_names.index(STREAM_TIME)
        return rows.set_column(column, rows.schema.field(column), pa.array(placed))

    def _forget_floors(self) -> None:
        """Those that no row can fall below any more."""
        for p, floors in self._floors.items():
            while len(floors) > 1 and floors[1][0] <= self._released[p]:
                floors.pop(0)
            if len(floors) == 1 and self._times[p] >= floors[0][1] and self._released[p] == self._arrived[p]:
                floors.pop()

    def _release(self, rows: pa.Table, step: NDArray[np.int64], frontiers: list[_Point]) -> pa.Table:
        time, partition, offset = (ints(rows, name) for name in (STREAM_TIME, PARTITION, OFFSET))
        limits = np.array(frontiers, dtype=np.int64)
        due = _first_at_or_above(time, partition, limits)
        released_at = np.maximum(step, due)
        ready = released_at < len(frontiers)
        order = np.lexsort((offset, partition, time, released_at))
        order = order[ready[order]]
        self._held = select(rows, ~ready)
        for p in np.unique(partition[order]).tolist():
            self._released[p] = int(offset[order][partition[order] == p].max()) + 1
        self._forget_floors()
        return rows.drop_columns([INPUT]).take(pa.array(order))


def _first_at_or_above(
    time: NDArray[np.int64], partition: NDArray[np.int64], limits: NDArray[np.int64]
) -> NDArray[np.int64]:
    """For each row, the first of the growing limits that is not below it; their number if there is none."""
    count = len(limits)
    times, partitions = np.concatenate([limits[:, 0], time]), np.concatenate([limits[:, 1], partition])
    is_limit = np.arange(len(times)) < count
    # A limit equal to a row comes after it, so that it is not counted among those below.
    order = np.lexsort((is_limit, partitions, times))
    below = np.cumsum(is_limit[order])
    found = np.empty(len(times), dtype=np.int64)
    found[order] = below
    return found[count:]
