"""The first task of a pipeline with hops: each row goes to the partitions where the rows with the same keys are."""

from collections.abc import Callable, Sequence, Set
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.hops import KEY, STREAM_TIME, PartialEnrichment
from tidemill.schemas.batch import Batch
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.hops.block import OFFSET, PARTITION, Block, Mark
from tidemill.streams.murmur2 import partition_of
from tidemill.streams.plan import ENRICHED, Plan
from tidemill.streams.ports import LogReader, Output, Prepared, Records
from tidemill.streams.task import Task

RECORD_TIME = "@record_time"
RECORD_KEY = "@record_key"
LONGEST_STEP = 0.1
"""Seconds of silence that one step can count for. A process that was stopped for a minute has heard nothing in it."""
_NONE: NDArray[np.int64] = np.empty(0, dtype=np.int64)


class SplitTask(Task):
    """A `Task` whose last stage is the first step of an enrichment with hops.

    Besides the rows it tells the readers of each hop how far the partition has come, and when it has nothing more: they
    hold rows back for it.
    """

    def __init__(
        self,
        plan: Plan,
        stages: Sequence[str],
        schemas: SchemaSource,
        reader: LogReader,
        prefix: Callable[[str], bytes | None],
        partitions: int,
    ) -> None:
        """`partitions` is how many the topics have."""
        super().__init__(plan, stages, schemas, reader, prefix, partitions)
        self._partial = next(stage for stage in self._stages if isinstance(stage, PartialEnrichment))
        self._made: Batch | None = None
        self._keys: list[bytes | None] = []
        self._silence: dict[int, float] = {}
        self._idle: set[int] = set()
        self._awake: set[int] = set()
        """Partitions that the hops know to have something under way; those in neither set they know from before."""
        self._reads: dict[int, bool] = {}
        """The partitions read since the last look at idle ones, and whether an event of each was accepted."""
        self._next: dict[int, int | None] = {}
        self._looked: float | None = None
        self._was_long = False

    def position(self, partition: int) -> int:
        """The next offset of the partition to read."""
        return self._next[partition] or 0

    def mark(self, partition: int, *, idle: bool) -> Mark:
        """How far the partition has come."""
        return Mark(self.stream_time(partition), self.position(partition), idle)

    def stream_time(self, partition: int) -> int:
        """The partition's event time so far, in microseconds."""
        return self._partial.stream_time(partition)

    def assigned(self, partition: int) -> int | None:
        """As `Task.assigned`; the partition is not idle before it has been silent here for a while."""
        offset = super().assigned(partition)
        self._silence[partition] = 0.0
        self._next[partition] = offset
        return offset

    def revoked(self, partition: int) -> None:
        """Drop the partition's state."""
        super().revoked(partition)
        self._silence.pop(partition, None)
        self._next.pop(partition, None)
        self._reads.pop(partition, None)
        self._idle.discard(partition)
        self._awake.discard(partition)

    def prepare(self, records: Records) -> Prepared:
        """As `Task.prepare`; what the last stage accepted goes to the hops, and a row with the rest of it home."""
        self._made = None
        prepared = super().prepare(records)
        batch = self._made
        moved: set[int] = set() if batch is None else set(np.unique(batch.origin.partition).tolist())
        for p, offset in prepared.offsets.items():
            self._reads[p] = p in moved or self._reads.get(p, False)
            self._next[p] = offset
        self._idle -= moved
        self._awake |= moved
        outputs = [*prepared.outputs, *self._home(batch, prepared.offsets.keys())]
        if batch is not None:
            outputs += self._hops(batch, moved)
        return replace(prepared, outputs=outputs, answered=_NONE)

    def idle(self, ended: Set[int], now: float) -> Prepared | None:
        """Tell the hops which partitions they need not wait for: those that have had no good event for a while."""
        passed = 0.0 if self._looked is None else max(now - self._looked, 0.0)
        step, self._looked = min(passed, LONGEST_STEP), now
        # After a step that was unusually long something may just be about to be heard.
        doubtful, self._was_long = passed > LONGEST_STEP and not self._was_long, passed > LONGEST_STEP
        due = set()
        for p in self._silence:
            accepted = self._reads.get(p)
            silent = not accepted and (p in ended or accepted is False)
            self._silence[p] = self._silence[p] + step if silent else 0.0
            if self._silence[p] >= self.plan.idle_seconds and p not in self._idle and not doubtful:
                due.add(p)
        self._reads = {}
        return self._tell_idle(due)

    def settle(self) -> Prepared | None:
        """Tell the hops that no partition has anything under way."""
        return self._tell_idle(self._silence.keys() - self._idle)

    def wake(self, partitions: Set[int]) -> Prepared | None:
        """Tell the hops that these partitions have something under way, before any of it is read."""
        due = partitions & self._silence.keys() - self._awake
        self._awake |= due
        self._idle -= due
        return self._tell(due)

    def _tell_idle(self, partitions: Set[int]) -> Prepared | None:
        self._idle |= partitions
        self._awake -= partitions
        return self._tell(partitions)

    def _tell(self, partitions: Set[int]) -> Prepared | None:
        if not partitions:
            return None
        outputs = [output for key in self.plan.hops for output in self._to_hop(key, None, partitions)]
        # The offsets are as they were: with them the group refuses a worker that is no longer the partitions' owner.
        known = {p: offset for p in sorted(partitions) if (offset := self._next[p]) is not None}
        return Prepared(outputs, [], known, answered=_NONE)

    def _emit(self, stage: str, batch: Batch, records: Records) -> list[Output]:
        if stage != self._partial.name:
            return super()._emit(stage, batch, records)
        if len(batch):
            self._made, self._keys = batch, [records.keys[row] for row in batch.origin.row]
        return []

    def _mark(self, partition: int) -> Mark:
        time = self._partial.stream_time(partition)
        return Mark(time, self._state[partition].source_offset, partition in self._idle)

    def _home(self, batch: Batch | None, partitions: Set[int]) -> list[Output]:
        """The rows on their own partition, where the hops' answers will come."""
        schema = self._partial.assembly_schema
        blocks: list[tuple[int, Block]] = []
        for p in sorted(partitions):
            rows = slice(0, 0) if batch is None else dict(batch.partitions()).get(p, slice(0, 0))
            columns: list[pa.Array | pa.ChunkedArray] = [pa.array(_NONE), pa.array(_NONE), pa.array([], pa.binary())]
            carried = schema.empty_table()
            if batch is not None:
                carried = batch.table.select(schema.names).slice(rows.start, rows.stop - rows.start)
                keys = pa.array(self._keys[rows], pa.binary())
                columns = [pa.array(batch.origin.offset[rows]), pa.array(batch.origin.timestamp[rows]), keys]
            table = pa.table([*columns, *carried.columns], names=[OFFSET, RECORD_TIME, RECORD_KEY, *schema.names])
            blocks.append((p, Block(table, self._partial.name, {p: self._mark(p)}, tuple(self.plan.hops))))
        return _output(self.plan.topic(ENRICHED), blocks)

    def _hops(self, batch: Batch, moved: Set[int]) -> list[Output]:
        return [output for key in self.plan.hops for output in self._to_hop(key, batch, moved)]

    def _to_hop(self, key: str, batch: Batch | None, partitions: Set[int]) -> list[Output]:
        """A block for every partition of the hop, if only to say how far these partitions have come."""
        marks = {p: self._mark(p) for p in sorted(partitions)}
        schema = self._partial.window_schema(key)
        names = [PARTITION, OFFSET, RECORD_TIME, STREAM_TIME, *schema.names]
        table = pa.table([pa.array(_NONE)] * 4 + schema.empty_table().columns, names=names)
        targets = _NONE
        if batch is not None:
            rows = self._partial.for_windows(key, batch.table)
            numbers = (batch.origin.partition.astype(np.int64), batch.origin.offset, batch.origin.timestamp)
            origin = [pa.array(column) for column in numbers]
            table = pa.table([*origin, batch.table[STREAM_TIME], *rows.columns], names=names)
            targets = self._targets(rows[KEY].combine_chunks(), batch.origin.partition)
        blocks = []
        for target in range(self._partitions):
            chosen = table.take(pa.array(np.flatnonzero(targets == target)))
            blocks.append((target, Block(chosen, self._partial.name, marks, tuple(self.plan.hops))))
        return _output(self.plan.hop_topic(key), blocks)

    def _targets(self, keys: pa.Array, home: NDArray[np.int32]) -> NDArray[np.int64]:
        """The hop's partition for each row; rows without a key, which no window counts, stay on their own."""
        encoded = keys.dictionary_encode()
        places = [partition_of(key.encode(), self._partitions) for key in encoded.dictionary.to_pylist()]
        indices: NDArray[np.int64] = encoded.indices.fill_null(len(places)).to_numpy(zero_copy_only=False)
        return np.where(indices < len(places), np.array([*places, -1], dtype=np.int64)[indices], home)


def _output(topic: str, blocks: Sequence[tuple[int, Block]]) -> list[Output]:
    """Blocks as messages for the partitions named."""
    messages = [(partition, value) for partition, block in blocks for value in block.encode()]
    if not messages:
        return []
    count = len(messages)
    partitions = np.array([partition for partition, _ in messages], dtype=np.int32)
    return [
        Output(topic, partitions, np.zeros(count, dtype=np.int64), [None] * count, [value for _, value in messages])
    ]
