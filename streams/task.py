"""A task: the stages of one worker, fused into one step from consumed records to all that must be written.

prepared = task.prepare(records)       # in memory: outputs, state changes, offsets
committer.commit(prepared)             # the only broker I/O: one transaction
task.committed(prepared)               # bookkeeping
"""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.online_inference.stage import SHADOW_PREDICTIONS, OnlineInference
from tidemill.processors.stage import Stage
from tidemill.schemas.batch import Batch, Origin, Processed
from tidemill.schemas.codec import Codec
from tidemill.schemas.codec.verdict import BadMessage, Reason
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.outcomes.scored import ScoredPredictions
from tidemill.streams.plan import LABELLED, SCORED, STAGES, Plan
from tidemill.streams.ports import ChangelogEntry, LogReader, Output, Prepared, Records, StageCounts
from tidemill.streams.rejection_profiles import RejectionProfiles
from tidemill.streams.rejections import RejectedRow, refused_later, rejected_output
from tidemill.streams.state import PartitionState
from tidemill.streams.state_watch import StateSize

MISPLACED = "misplaced"
NO_EVENTS: NDArray[np.int64] = np.empty(0, dtype=np.int64)
"""What a batch answers that answers no event."""
TOO_LARGE = "too_large"
MAX_EVENT_BYTES = 1 << 20
"""Key and value, unpacked. A broker's limit is for compressed batches; what a larger event leads to may not fit it."""


class Task:
    """Runs a group of neighbouring stages; input, outputs and results are the same however the stages are grouped.

    Memory follows the log: `assigned` rebuilds a partition's state from the changelog, `revoked` drops it, and after
    a commit that failed the caller must do both, because `prepare` has already moved the state on.
    """

    def __init__(
        self,
        plan: Plan,
        stages: Sequence[str],
        schemas: SchemaSource,
        reader: LogReader,
        prefix: Callable[[str], bytes | None],
        partitions: int | None = None,
    ) -> None:
        """`partitions` is how many the topics have, by default as declared."""
        self.plan = plan
        self._partitions = partitions or plan.partitions
        self.stage_names = tuple(stages)
        self.input_topic = plan.input_of(stages[0])
        by_name: dict[str, Stage] = {stage.name: stage for stage in plan.make_stages()}
        self._stages = [by_name[name] for name in stages]
        self._reader = reader
        suffix = self.input_topic.removeprefix(plan.topic(""))
        # Internal topics have no contract: whoever reads them has another way.
        self._decoder = Codec(plan.contracts[suffix], schemas) if suffix in plan.contracts else None
        # What the last one makes is always written; a topic between two of them is the pipeline's to choose.
        self._written = [name for name in stages if name == stages[-1] or plan.suffix_out(name) in plan.publish]
        self._encoders = {
            name: Codec(plan.output_contract(name), schemas, prefix(plan.suffix_out(name)))
            for name in self._written
            if plan.suffix_out(name) in plan.contracts
        }
        self._columns = {name: plan.output_contract(name).arrow.names for name in self._encoders}
        self._beside = None
        if STAGES[2] in stages:
            self._beside = Codec(plan.contracts[SHADOW_PREDICTIONS], schemas, prefix(SHADOW_PREDICTIONS))
        self._is_source = stages[0] == STAGES[0]
        self._scored = self._make_scored() if STAGES[2] in stages else None
        self._profiles = None
        if plan.profile_window is not None and stages[0] not in LABELLED:
            self._profiles = RejectionProfiles(plan, stages, plan.profile_window)
        self._state: dict[int, PartitionState] = {}

    def _make_scored(self) -> ScoredPredictions | None:
        """What writes predictions to where they are set beside what happens."""
        if self.plan.make_outcomes is None:
            return None
        return ScoredPredictions(self.plan.topic(SCORED), self.plan.make_outcomes(), STAGES[2], self._partitions)

    @property
    def inference(self) -> OnlineInference | None:
        """The stage that serves models, if this task has it."""
        return next((stage for stage in self._stages if isinstance(stage, OnlineInference)), None)

    def sizes(self) -> dict[int, StateSize]:
        """How much state each partition has; may be asked for by any thread."""
        return {partition: state.size for partition, state in list(self._state.items())}

    def assigned(self, partition: int) -> int | None:
        """Rebuild the partition's state from the changelog; returns the input offset to go on from, if it has one."""
        self.revoked(partition)
        state = PartitionState(self.plan.topic("changelog"), partition, self._stages, self.input_topic)
        # Known before it is complete: a state that is too large shall be noticed while it is read.
        self._state[partition] = state
        return state.restore(self._reader)

    def revoked(self, partition: int) -> None:
        """Drop the partition's state."""
        self._state.pop(partition, None)
        if self._scored is not None:
            self._scored.drop(partition)
        if self._profiles is not None:
            self._profiles.drop(partition)
        for stage in self._stages:
            stage.drop(partition)

    def prepare(self, records: Records) -> Prepared:
        """Turn consumed records into everything that must be written for them; no I/O but to look up original bytes.

        Every record becomes one output of the last stage or one rejection, unless it was processed before.
        """
        records, large = _within_limit(records) if self._is_source else (records, {})
        batch, rejected = self._read(records, large)
        counts = {name: StageCounts() for name in self.stage_names}
        for row in rejected:
            _count(counts[self.stage_names[0]].rejected, row.reason, 1)
        positions = self._positions(records, batch.origin)
        outputs = self._run(batch, rejected, records, counts)
        offsets = {p: int(records.offset[rows][-1]) + 1 for p, rows in _by_partition(records.partition)}
        return Prepared(outputs, self._changelog(positions, offsets), offsets, counts)

    def idle(self, ended: Set[int], now: float) -> Prepared | None:  # noqa: ARG002 - for tasks that others wait for
        """What is to be written although nothing has come in; asked whenever a poll was empty or was processed."""
        return None

    def wake(self, partitions: Set[int]) -> Prepared | None:  # noqa: ARG002 - as above
        """What is to be written before these partitions are read, if others should wait for what is on them."""
        return None

    def settle(self) -> Prepared | None:
        """What is to be written once all that there is has been read, if nobody should wait for more; None at last."""
        return None

    def _run(
        self, batch: Batch, rejected: list[RejectedRow], records: Records, counts: dict[str, StageCounts]
    ) -> list[Output]:
        """Take the batch through the stages; returns all that they write, and what they reject."""
        outputs: list[Output] = []
        given, shown = batch, records
        if self.plan.hash_keys is not None and self.input_topic == self.plan.topic("events"):
            shown = replace(records, keys=self.plan.hash_keys(records.keys))
        for stage in self._stages:
            if not len(batch):
                break
            processed = stage.process(batch)
            rejected += self._rejected_rows(stage.name, batch, processed, records)
            self._tally(counts[stage.name], processed)
            if self._scored is not None and stage.name == STAGES[2] and len(processed.accepted):
                outputs.append(self._scored.output(batch, processed))
            outputs += [self._encode_beside(suffix, rows, records) for suffix, rows in processed.beside.items()]
            batch = processed.accepted
            if stage.name in self._written:
                outputs += self._emit(stage.name, batch, shown)
        if self._profiles is not None:
            outputs += self._profiles.output(given, rejected)
        if rejected:
            originals = None if self._is_source else self._reader
            outputs.append(rejected_output(self.plan, rejected, originals))
        return [output for output in outputs if len(output)]

    def _emit(self, stage: str, batch: Batch, records: Records) -> list[Output]:
        """What a stage has accepted, as messages."""
        return [self._encode(stage, batch, records)]

    def committed(self, prepared: Prepared) -> None:
        """Take note that a commit succeeded."""
        for partition, offset in prepared.offsets.items():
            self._state[partition].committed = offset

    def _read(self, records: Records, large: Mapping[int, int]) -> tuple[Batch, list[RejectedRow]]:
        """The records as a batch of what was not processed before, and those that are not events of this topic."""
        assert self._decoder is not None
        decoded = self._decoder.decode(records.values, records.headers)
        batch = Batch(decoded.table, self._origin(records, decoded.table, decoded.rows))
        bad = [
            (fault.row, TOO_LARGE, _too_large(large[fault.row]))
            if fault.row in large
            else (fault.row, str(fault.reason), self._unread(fault))
            for fault in decoded.bad
        ]
        if self._is_source:
            rows = np.array([fault[0] for fault in bad], dtype=np.int64)
            new = self._is_new(records.partition[rows], records.offset[rows])
            bad = [fault for fault, is_new in zip(bad, new.tolist(), strict=True) if is_new]
        else:
            here = records.partition[decoded.rows]
            misplaced = batch.origin.partition != here
            bad += [
                (int(decoded.rows[i]), MISPLACED, _misplaced(batch, i, here))
                for i in np.flatnonzero(misplaced).tolist()
            ]
            batch = batch.take(np.flatnonzero(~misplaced))
        batch = batch.take(np.flatnonzero(self._is_new(batch.origin.partition, batch.origin.offset)))
        first = self.stage_names[0]
        return batch, [RejectedRow.undecodable(first, self.input_topic, records, *fault) for fault in sorted(bad)]

    def _unread(self, fault: BadMessage) -> str:
        """What is said of a message that cannot be read; of one that may have private fields, nothing of its bytes."""
        told = fault.reason in (Reason.EMPTY_VALUE, Reason.UNKNOWN_SCHEMA)
        if told or not self.plan.private or self.input_topic != self.plan.topic("events"):
            return fault.message
        name = self.plan.contracts["events"].name
        return f"expected an event as {name} has it; what came is not told, since events have private fields"

    def _origin(self, records: Records, table: pa.Table, rows: NDArray[np.int64]) -> Origin:
        if self._is_source:
            passed = refused_later(records, STAGES[0])
            origin = Origin(records.partition, records.offset, records.timestamp, np.arange(len(records)), passed)
            return origin.take(rows)
        return Origin(
            table["source_partition"].to_numpy().astype(np.int32),
            table["source_offset"].to_numpy().astype(np.int64),
            records.timestamp[rows],
            rows,
        )

    def _is_new(self, partition: NDArray[np.int32], offset: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which source offsets lie past what the state holds, and past those before them in the batch.

        After a change of layout, and after a worker that wrote at least once, input may come again.
        """
        new = np.ones(len(partition), dtype=bool)
        for p, rows in _by_partition(partition):
            state = self._state.get(p)
            reached = -1 if state is None else state.source_offset - 1
            before = np.maximum.accumulate(np.concatenate([[reached], offset[rows]]))[:-1]
            new[rows] = offset[rows] > before
        return new

    def _positions(self, records: Records, origin: Origin) -> dict[int, int]:
        """For each source partition, the first event offset that is not part of this batch."""
        if self._is_source:
            return {p: int(records.offset[rows][-1]) + 1 for p, rows in _by_partition(records.partition)}
        return {p: int(origin.offset[rows][-1]) + 1 for p, rows in _by_partition(origin.partition)}

    def _rejected_rows(self, stage: str, batch: Batch, processed: Processed, records: Records) -> list[RejectedRow]:
        origin = batch.origin
        source = self.input_topic if self._is_source else self.plan.topic("events")
        # A hash is no key that an event could be sent again with: the event's own is looked up with its bytes.
        hidden = self.plan.hash_keys is not None and not self._is_source
        return [
            RejectedRow(
                stage,
                rejection.reason,
                rejection.message,
                source,
                int(origin.partition[rejection.row]),
                int(origin.offset[rejection.row]),
                int(origin.timestamp[rejection.row]),
                None if hidden else records.keys[origin.row[rejection.row]],
                records.values[origin.row[rejection.row]] if self._is_source else None,
                records.headers[origin.row[rejection.row]] if self._is_source else None,
            )
            for rejection in processed.rejected
        ]

    @staticmethod
    def _tally(counts: StageCounts, processed: Processed) -> None:
        counts.accepted += len(processed.accepted)
        for rejection in processed.rejected:
            _count(counts.rejected, rejection.reason, 1)
        for name, number in processed.warnings.items():
            _count(counts.warned, name, number)

    def _encode(self, stage: str, batch: Batch, records: Records) -> Output:
        table, columns = batch.table, self._columns[stage]
        if "source_partition" not in table.column_names:
            place = [pa.array(batch.origin.partition), pa.array(batch.origin.offset)]
            names = [*table.column_names, "source_partition", "source_offset"]
            table = pa.Table.from_arrays([*table.columns, *place], names=names)
        values = self._encoders[stage].encode(table if table.column_names == columns else table.select(columns))
        rows = batch.origin.row
        keys = records.keys if len(rows) == len(records) else list(map(records.keys.__getitem__, rows.tolist()))
        return Output(self.plan.output_of(stage), batch.origin.partition, batch.origin.timestamp, keys, values)

    def _encode_beside(self, suffix: str, batch: Batch, records: Records) -> Output:
        """Rows for another topic than the stage's own: of an event none, one or several."""
        assert self._beside is not None
        origin = batch.origin
        keys = list(map(records.keys.__getitem__, origin.row.tolist()))
        values = self._beside.encode(batch.table)
        return Output(self.plan.topic(suffix), origin.partition, origin.timestamp, keys, values)

    def _changelog(self, positions: dict[int, int], offsets: dict[int, int]) -> list[ChangelogEntry]:
        entries: list[ChangelogEntry] = []
        for partition, input_offset in offsets.items():
            entries += self._state[partition].advance(positions.get(partition), input_offset)
        return entries


def _misplaced(batch: Batch, row: int, here: NDArray[np.int32]) -> str:
    return (
        f"expected an event of partition {here[row]}, where the record stands, got one of partition"
        f" {batch.origin.partition[row]}; nobody but the pipeline's own workers should write to this topic"
    )


def _within_limit(records: Records) -> tuple[Records, dict[int, int]]:
    """The records without the contents of those that are too large, and how many bytes each of these had."""
    if _longest(records.values) + _longest(records.keys) <= MAX_EVENT_BYTES:
        return records, {}
    sizes = ((len(value or b"") + len(key or b"")) for value, key in zip(records.values, records.keys, strict=True))
    large = {row: size for row, size in enumerate(sizes) if size > MAX_EVENT_BYTES}
    keys = [None if row in large else key for row, key in enumerate(records.keys)]
    values = [None if row in large else value for row, value in enumerate(records.values)]
    return replace(records, keys=keys, values=values), large


def _longest(pieces: Sequence[bytes | None]) -> int:
    return max(map(len, filter(None, pieces)), default=0)


def _too_large(size: int) -> str:
    return f"expected at most {MAX_EVENT_BYTES:,} bytes, got {size:,}; they stay on the event's own topic"


def _by_partition(partition: NDArray[np.int32]) -> list[tuple[int, slice]]:
    if not len(partition):
        return []
    ids, starts = np.unique(partition, return_index=True)
    stops = [*starts[1:].tolist(), len(partition)]
    return [(int(p), slice(int(a), int(b))) for p, a, b in zip(ids, starts, stops, strict=True)]


def _count(counts: dict[str, int], name: str, number: int) -> None:
    counts[name] = counts.get(name, 0) + number
