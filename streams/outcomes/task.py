"""The task that makes outcomes: blocks of predictions and labels in, what happened beside what was predicted out."""

from collections.abc import Callable, Sequence, Set

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.drift import Profile
from tidemill.processors.online_inference.stage import OnlineInference
from tidemill.processors.outcomes import LABEL_INTAKE
from tidemill.processors.outcomes.join import Joined, RefusedLabel, label_schema
from tidemill.processors.outcomes.predictions import EVENT_ID
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.hops.block import Block, conform
from tidemill.streams.hops.windows import by_partition, read_blocks
from tidemill.streams.outcomes.once import Once
from tidemill.streams.plan import Plan
from tidemill.streams.ports import ChangelogEntry, LogReader, Output, Prepared, Records, StageCounts
from tidemill.streams.profile_log import PROFILES, profile_messages
from tidemill.streams.rejections import RejectedRow, rejected_output
from tidemill.streams.state import PartitionState
from tidemill.streams.state_watch import StateSize
from tidemill.streams.task import NO_EVENTS


class OutcomesTask:
    """What `Task` is to other stages: consumed blocks of P.scored in, all that must be written out.

    Memory follows the log as in `Task`.
    """

    inference: OnlineInference | None = None

    def __init__(
        self, plan: Plan, schemas: SchemaSource, reader: LogReader, prefix: Callable[[str], bytes | None]
    ) -> None:
        assert plan.make_outcomes is not None
        self.plan, self._reader = plan, reader
        self._stage = plan.make_outcomes()
        self.stage_names = (self._stage.name,)
        self.input_topic = plan.input_of(self._stage.name)
        suffix = plan.suffix_out(self._stage.name)
        self._codec = Codec(plan.contracts[suffix], schemas, prefix(suffix))
        ids = pa.field(EVENT_ID, pa.string(), nullable=False)
        self._predictions = self._stage.scored
        self._labels = pa.schema([ids, *label_schema(plan.target.value_type())])
        self._keeper = Once(self._stage)
        self._state: dict[int, PartitionState] = {}

    def sizes(self) -> dict[int, StateSize]:
        """How much state each partition has; may be asked for by any thread."""
        return {partition: state.size for partition, state in list(self._state.items())}

    def assigned(self, partition: int) -> int | None:
        """Rebuild the partition's state from the changelog; returns the input offset to go on from, if it has one."""
        self.revoked(partition)
        state = PartitionState(self.plan.topic("changelog"), partition, [self._keeper], self.input_topic)
        # Known before it is complete: a state that is too large shall be noticed while it is read.
        self._state[partition] = state
        return state.restore(self._reader)

    def revoked(self, partition: int) -> None:
        """Drop the partition's state."""
        self._state.pop(partition, None)
        self._keeper.drop(partition)

    def prepare(self, records: Records) -> Prepared:
        """Join what these blocks hold, and what was waiting for it."""
        counts = StageCounts()
        rejected: list[RejectedRow] = []
        outputs: list[Output] = []
        entries: list[ChangelogEntry] = []
        offsets = {}
        for p, rows in by_partition(records.partition):
            place = (self._stage.name, self.input_topic)
            blocks = read_blocks(records, rows, self._check, place, rejected)
            joined = self._join(p, blocks)
            if len(joined.outcomes):
                outputs.append(self._output(p, joined))
            profiles = self._stage.profiles(joined)
            if profiles:
                outputs.append(self._profiled(p, profiles))
            rejected += [self._refused(label) for label in joined.refused]
            for kind, number in joined.counts.items():
                counts.labels[kind] = counts.labels.get(kind, 0) + number
            counts.accepted += len(joined.outcomes)
            offsets[p] = int(records.offset[rows][-1]) + 1
            entries += self._state[p].advance(None, offsets[p])
        for row in rejected:
            counts.rejected[row.reason] = counts.rejected.get(row.reason, 0) + 1
        if rejected:
            outputs.append(rejected_output(self.plan, rejected, self._reader))
        return Prepared(outputs, entries, offsets, {self._stage.name: counts}, NO_EVENTS)

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

    def _check(self, block: Block) -> Block:
        schema = self._labels if block.source == LABEL_INTAKE else self._predictions
        return Block(conform(block.rows, schema), block.source, block.marks)

    def _join(self, partition: int, blocks: Sequence[tuple[int, Block]]) -> Joined:
        """What comes of the blocks' rows, each of which is taken in once."""
        tables: dict[bool, list[pa.Table]] = {True: [], False: []}
        places: dict[bool, list[NDArray[np.int64]]] = {True: [], False: []}
        join = self._stage.of(partition)
        clock = join.clock
        for offset, block in blocks:
            is_label = block.source == LABEL_INTAKE
            rows = self._keeper.new_rows(partition, block.rows, is_label=is_label)
            tables[is_label].append(rows)
            places[is_label].append(np.full(len(rows), offset))
            clock = max([clock, *(mark.stream_time for mark in block.marks.values())])
        predictions = pa.concat_tables([self._predictions.empty_table(), *tables[False]])
        labels = pa.concat_tables([self._labels.empty_table(), *tables[True]])
        at = {kind: np.concatenate([NO_EVENTS, *found]) for kind, found in places.items()}
        return join.take(predictions, at[False], labels, at[True], clock)

    def _output(self, partition: int, joined: Joined) -> Output:
        table = self._stage.outcomes(joined)
        values = self._codec.encode(table)
        keys = [key.encode() for key in table[EVENT_ID].to_pylist()]
        count = len(values)
        timestamps = joined.outcomes["@record_time"].to_numpy()
        return Output(
            self.plan.output_of(self._stage.name), np.full(count, partition, np.int32), timestamps, keys, values
        )

    def _profiled(self, partition: int, profiles: Sequence[Profile]) -> Output:
        keys, values, headers = profile_messages(profiles, partition, self._stage.reached(partition))
        count = len(values)
        zeros = np.zeros(count, np.int64)
        # The topic has one partition.
        return Output(self.plan.topic(PROFILES), zeros.astype(np.int32), zeros, keys, values, headers)

    def _refused(self, label: RefusedLabel) -> RejectedRow:
        labels, (partition, offset, timestamp, reason, message) = self.plan.topic("labels"), label
        return RejectedRow(self._stage.name, reason, message, labels, partition, offset, timestamp, None, None)
