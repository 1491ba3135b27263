"""The last task of a pipeline with hops: events where they were, with all that was made of them."""

from collections.abc import Callable, Sequence, Set

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.hops import FeatureAssembly, KeyedWindows
from tidemill.schemas.batch import Batch, Origin
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.hops.block import OFFSET, Block, ints
from tidemill.streams.hops.join import Join
from tidemill.streams.hops.split import RECORD_KEY, RECORD_TIME
from tidemill.streams.hops.windows import by_partition, read_blocks
from tidemill.streams.plan import Plan
from tidemill.streams.ports import LogReader, Prepared, Records, StageCounts
from tidemill.streams.rejections import RejectedRow
from tidemill.streams.task import Task

MOST_EVENTS = 10_000
"""How many events of a partition one batch may decide."""


class AssemblyTask(Task):
    """A `Task` over the rows that a join releases, in the order of their events, whatever came back first."""

    def __init__(
        self,
        plan: Plan,
        stages: Sequence[str],
        schemas: SchemaSource,
        reader: LogReader,
        prefix: Callable[[str], bytes | None],
        windows: Sequence[KeyedWindows],
        partitions: int | None = None,
    ) -> None:
        super().__init__(plan, stages, schemas, reader, prefix, partitions)
        reads = next(stage.reads for stage in self._stages if isinstance(stage, FeatureAssembly))
        own = [pa.field(RECORD_TIME, pa.int64(), nullable=False), pa.field(RECORD_KEY, pa.binary())]
        self._rows = pa.schema([*own, *reads])
        self._windows = windows
        self._joins: dict[int, Join] = {}

    def assigned(self, partition: int) -> int | None:
        """As `Task.assigned`."""
        offset = super().assigned(partition)
        made = {stage.key: stage.schema for stage in self._windows}
        nothing = {stage.key: stage.nothing(1) for stage in self._windows}
        following = self._state[partition].source_offset
        self._joins[partition] = Join(self._rows, made, nothing, following, offset or 0)
        return offset

    def following(self, partition: int) -> int:
        """The first event of the partition that is not released yet."""
        return self._joins[partition].following

    def revoked(self, partition: int) -> None:
        """Drop the partition's state."""
        super().revoked(partition)
        self._joins.pop(partition, None)

    def prepare(self, records: Records) -> Prepared:
        """As `Task.prepare`, for the events whose rows are all there."""
        rejected: list[RejectedRow] = []
        place = (self.stage_names[0], self.input_topic)
        blocks = {
            p: read_blocks(records, rows, self._joins[p].check, place, rejected)
            for p, rows in by_partition(records.partition)
        }
        return self._decide(blocks, rejected)

    def idle(self, ended: Set[int], now: float) -> Prepared | None:  # noqa: ARG002 - a Task
        """The next of the events that were more than one batch may hold."""
        ready: dict[int, list[tuple[int, Block]]] = {p: [] for p, join in self._joins.items() if join.ready}
        return self._decide(ready, []) if ready else None

    def settle(self) -> Prepared | None:
        """As `idle`."""
        return self.idle(set(), 0.0)

    def _decide(self, blocks: dict[int, list[tuple[int, Block]]], rejected: list[RejectedRow]) -> Prepared:
        counts = {name: StageCounts() for name in self.stage_names}
        tables, sources = [], []
        positions, offsets = {}, {}
        for p, found in sorted(blocks.items()):
            join = self._joins[p]
            table = join.take(found, p, MOST_EVENTS)
            tables.append(table)
            sources.append(np.full(len(table), p, dtype=np.int32))
            positions[p], offsets[p] = join.following, join.next_input
        for row in rejected:
            refused = counts[self.stage_names[0]].rejected
            refused[row.reason] = refused.get(row.reason, 0) + 1
        table = pa.concat_tables(tables)
        origin = _origin(table, np.concatenate(sources))
        keys = table[RECORD_KEY].to_pylist()
        none: list[None] = [None] * len(keys)
        events = Records(origin.partition, origin.offset, origin.timestamp, keys, none, none)
        outputs = self._run(Batch(table, origin), rejected, events, counts)
        return Prepared(outputs, self._changelog(positions, offsets), offsets, counts, origin.timestamp)


def _origin(table: pa.Table, partition: NDArray[np.int32]) -> Origin:
    return Origin(partition, ints(table, OFFSET), ints(table, RECORD_TIME), np.arange(len(table), dtype=np.int64))
