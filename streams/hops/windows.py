"""The task of a hop: the rows with one value of a field, put in order, and the windows on that field."""

from collections.abc import Callable, Mapping, Sequence, Set

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.hops import STREAM_TIME, KeyedWindows
from tidemill.processors.online_inference.stage import OnlineInference
from tidemill.processors.stage import Stage, Store
from tidemill.schemas.batch import Batch, Origin, Processed
from tidemill.streams.hops.block import OFFSET, PARTITION, Block, MalformedBlock, conform, ints
from tidemill.streams.hops.merge import Merge
from tidemill.streams.hops.split import RECORD_TIME
from tidemill.streams.plan import ENRICHED, Plan
from tidemill.streams.ports import ChangelogEntry, LogReader, Output, Prepared, Records, StageCounts
from tidemill.streams.rejections import RejectedRow, rejected_output
from tidemill.streams.state import PartitionState
from tidemill.streams.state_watch import StateSize

MALFORMED = "undecodable"
LATE = "late_across_partitions"
_NONE: NDArray[np.int64] = np.empty(0, dtype=np.int64)


class WindowsTask:
    """What `Task` is to other stages: consumed records of a hop's topic in, all that must be written out.

    Memory follows the log as in `Task`. A partition's position is the first block of which a row is held back, and what
    `Merge` must know; what is held back is read again.
    """

    inference: OnlineInference | None = None

    def __init__(self, plan: Plan, stage: KeyedWindows, reader: LogReader, partitions: int) -> None:
        self.plan, self._stage, self._reader, self._partitions = plan, stage, reader, partitions
        self.stage_names = (stage.name,)
        self.input_topic = plan.hop_topic(stage.key)
        numbers = [pa.field(name, pa.int64(), nullable=False) for name in (PARTITION, OFFSET, RECORD_TIME, STREAM_TIME)]
        self._schema = pa.schema([*numbers, *stage.reads])
        self._merges: dict[int, Merge] = {}
        self._state: dict[int, PartitionState] = {}

    def sizes(self) -> dict[int, StateSize]:
        """How much state each partition has; may be asked for by any thread."""
        return {partition: state.size for partition, state in list(self._state.items())}

    def assigned(self, partition: int) -> int | None:
        """Rebuild the partition's state from the changelog; returns the input offset to go on from, if it has one."""
        self.revoked(partition)
        clock: dict[str, int] = {}
        placed: list[Stage] = [_Placed(self._stage, clock, lambda: self._merges[partition].clock())]
        state = PartitionState(self.plan.topic("changelog"), partition, placed, self.input_topic)
        # Known before it is complete: a state that is too large shall be noticed while it is read.
        self._state[partition] = state
        offset = state.restore(self._reader)
        self._merges[partition] = Merge(self._schema, self._partitions, clock, offset or 0)
        return offset

    def revoked(self, partition: int) -> None:
        """Drop the partition's state."""
        self._state.pop(partition, None)
        self._merges.pop(partition, None)
        self._stage.drop(partition)

    def prepare(self, records: Records) -> Prepared:
        """Compute the windows of the rows that are released, and send what they are to where their events are."""
        counts = StageCounts()
        rejected: list[RejectedRow] = []
        tables = []
        offsets = {}
        for p, rows in by_partition(records.partition):
            merge = self._merges[p]
            released = merge.take(list(self._blocks(records, rows, rejected)))
            count = len(released)
            counts.accepted += count
            if merge.late:
                counts.warned[LATE] = counts.warned.get(LATE, 0) + merge.late
            here = Origin(
                np.full(count, p, np.int32), ints(released, OFFSET), ints(released, RECORD_TIME), np.arange(count)
            )
            made = self._stage.process(Batch(released, here)).accepted.table
            tables.append(pa.table([released[PARTITION], released[OFFSET], *made.columns], names=self._made_names))
            offsets[p] = merge.next_input
        for row in rejected:
            counts.rejected[row.reason] = counts.rejected.get(row.reason, 0) + 1
        outputs = self._home(pa.concat_tables(tables)) if tables else []
        outputs += [rejected_output(self.plan, rejected, None)] if rejected else []
        entries = [entry for p, offset in offsets.items() for entry in self._advance(p, offset)]
        return Prepared(outputs, entries, offsets, {self._stage.name: counts}, _NONE)

    def committed(self, prepared: Prepared) -> None:
        """Take note that a commit succeeded."""
        for partition, offset in prepared.offsets.items():
            self._state[partition].committed = offset

    def idle(self, ended: Set[int], now: float) -> Prepared | None:  # noqa: ARG002 - a task
        """Nothing."""
        return None

    def wake(self, partitions: Set[int]) -> Prepared | None:  # noqa: ARG002 - a task
        """Nothing."""
        return None

    def settle(self) -> Prepared | None:
        """Nothing."""
        return None

    @property
    def _made_names(self) -> list[str]:
        return [PARTITION, OFFSET, *self._stage.schema.names]

    def _blocks(self, records: Records, rows: slice, rejected: list[RejectedRow]) -> Sequence[tuple[int, Block]]:
        def check(block: Block) -> Block:
            return Block(conform(block.rows, self._schema), block.source, block.marks, block.hops)

        return read_blocks(records, rows, check, (self._stage.name, self.input_topic), rejected)

    def _advance(self, partition: int, offset: int) -> list[ChangelogEntry]:
        return list(self._state[partition].advance(None, offset))

    def _home(self, made: pa.Table) -> list[Output]:
        """One block for each partition of events."""
        partition = ints(made, PARTITION)
        table = made.drop_columns([PARTITION])
        targets = np.unique(partition)
        values = [
            (p, value)
            for p in targets.tolist()
            for value in Block(table.take(pa.array(np.flatnonzero(partition == p))), self._stage.key).encode()
        ]
        if not values:
            return []
        places = np.array([p for p, _ in values], dtype=np.int32)
        times, keys = np.zeros(len(values), dtype=np.int64), [None] * len(values)
        return [Output(self.plan.topic(ENRICHED), places, times, keys, [value for _, value in values])]


class _Placed:
    """The stage with the merge's position as its clock, for one partition."""

    def __init__(self, stage: KeyedWindows, restored: dict[str, int], clock: Callable[[], dict[str, int]]) -> None:
        self.name, self._stage, self._restored, self._clock = stage.name, stage, restored, clock

    def process(self, batch: Batch) -> Processed:
        return self._stage.process(batch)

    def stores(self, partition: int) -> Mapping[str, Store]:
        return self._stage.stores(partition)

    def clock(self, partition: int) -> dict[str, int]:  # noqa: ARG002 - a Stage
        return self._clock()

    def restore_clock(self, partition: int, clock: Mapping[str, int]) -> None:  # noqa: ARG002 - a Stage
        self._restored.update(clock)

    def drop(self, partition: int) -> None:
        self._stage.drop(partition)


def read_blocks(
    records: Records,
    rows: slice,
    check: Callable[[Block], Block],
    place: tuple[str, str],
    rejected: list[RejectedRow],
) -> list[tuple[int, Block]]:
    """The blocks among the records with their offsets; what is none is added to `rejected`, for the stage and topic."""
    blocks = []
    for row in range(rows.start, rows.stop):
        try:
            blocks.append((int(records.offset[row]), check(Block.decode(records.values[row]))))
        except MalformedBlock as error:
            rejected.append(RejectedRow.undecodable(*place, records, row, MALFORMED, str(error)))
    return blocks


def by_partition(partition: NDArray[np.int32]) -> list[tuple[int, slice]]:
    """Each partition with its rows, which stand together."""
    ids, starts = np.unique(partition, return_index=True)
    stops = [*starts[1:].tolist(), len(partition)]
    return [(int(p), slice(int(a), int(b))) for p, a, b in zip(ids, starts, stops, strict=True)]
