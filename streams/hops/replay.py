"""Replay of a pipeline with hops: all partitions at once, since what windows see comes from several."""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.hops import ASSEMBLY
from tidemill.schemas.errors import StreamError
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.comparison import Comparison, PartitionReplay, Stretch
from tidemill.streams.feature_index import BATCH
from tidemill.streams.hops.chain import Chain
from tidemill.streams.hops.recorded import in_stretches
from tidemill.streams.memory import columns
from tidemill.streams.plan import Plan
from tidemill.streams.ports import History, LogRecord, Output
from tidemill.streams.rejections import HEADERS
from tidemill.streams.replay import Progress, Replay


class HopReplay(Replay):
    """A `Replay` whose partitions are run together, those with the earliest event time first.

    Events meet on a hop in the order that they decide. With `compare` it is the order that the hop's log has, which is
    the same but for rows that were late across partitions.
    """

    stage = ASSEMBLY

    def __init__(
        self,
        plan: Plan,
        history: History,
        schemas: SchemaSource,
        stretch: Stretch | None = None,
        *,
        compare: bool,
        progress: Progress = lambda n: None,  # noqa: ARG005
    ) -> None:
        if compare and plan.late_tables:
            raise StreamError(
                f"table {plan.late_tables[0]} is looked up by what windows on other keys make, and its state at that"
                " moment cannot be found again: a difference would prove nothing; replay without --compare"
            )
        super().__init__(plan, history, schemas, stretch, compare=compare, progress=progress)
        self._chain = Chain(plan, schemas, len(self.partitions), history if compare else None)
        self._made: dict[int, PartitionReplay] = {}

    def total(self, partitions: Sequence[int]) -> int:  # noqa: ARG002 - a Replay
        """How many offsets there are to read: always those of all partitions."""
        return super().total(self.partitions)

    def partition(self, partition: int) -> PartitionReplay:
        """As `Replay.partition`; the first call replays all of them."""
        if not self._made:
            self._made = self._replay()
        return self._made[partition]

    def _require_all(self, partition: int) -> None:
        super()._require_all(partition)
        for topic in (self._plan.hop_topic(key) for key in self._plan.hops):
            first = self._history.beginning(topic, partition)
            if first:
                raise StreamError(
                    f"{topic}[{partition}] begins at offset {first}: retention has deleted what says in which order the"
                    " live run met the events, so that a difference would prove nothing"
                )

    def _replay(self) -> dict[int, PartitionReplay]:
        made = {p: PartitionReplay(p) for p in self.partitions}
        begun = {p: self._begin(made[p]) for p in self.partitions}
        waiting = {p: _Waiting(p, comparison) for p, (comparison, _) in begun.items()}
        for table in self.tables.values():
            table.move_to(0 if self._compare else table.newest)
        sources = {p: in_stretches(self._history, self.events, p, self._stop(p), BATCH) for p in self.partitions}
        while sources:
            # What is ahead of the others would only be held back.
            first = min(sources, key=lambda p: (self._chain.stream_time(p), p))
            records = next(sources[first], None)
            if records is None:
                del sources[first]
                continue
            for part in self._by_tables(records, begun[first][1]):
                if part:
                    waiting[first].records += part
                    self._spread(self._chain.feed(columns(part)), waiting)
            self._progress(len(records))
        self._spread(self._chain.settle(), waiting)
        for p, wait in waiting.items():
            made[p].differences = wait.comparison.differences(self._history, self._features)
        return made

    def _spread(self, outputs: Sequence[Output], waiting: "dict[int, _Waiting]") -> None:
        for output in outputs:
            for p in np.unique(output.partition).tolist():
                here = np.flatnonzero(output.partition == p)
                if output.topic == self._plan.topic("features"):
                    offsets = self._features.decode(output.values).table["source_offset"].to_numpy()
                    waiting[p].features.append((offsets[here], _take(output, here)))
                elif output.topic == self._plan.topic("rejected"):
                    waiting[p].rejected.append(_take(output, here))
        for p, wait in waiting.items():
            wait.decide(self._chain.decided(p))


class _Waiting:
    """A partition's events, and what has come of them, until it is known what becomes of each."""

    def __init__(self, partition: int, comparison: Comparison) -> None:
        self.comparison, self._partition = comparison, partition
        self.records: list[LogRecord] = []
        self.features: list[tuple[NDArray[np.int64], Output]] = []
        self.rejected: list[Output] = []

    def decide(self, before: int) -> None:
        """Compare what became of the events before this offset."""
        count = bisect_left(self.records, before, key=lambda record: record.offset)
        if not count:
            return
        done, self.records = self.records[:count], self.records[count:]
        # A feature comes only when its event is decided; a rejection may come long before.
        offsets = np.concatenate([np.empty(0, dtype=np.int64), *(offsets for offsets, _ in self.features)])
        features = _joined([output for _, output in self.features])
        rejected, later = None, []
        if self.rejected:
            together = _joined(self.rejected)
            assert together is not None
            assert together.headers is not None
            places = np.array([int(dict(h or [])[HEADERS["offset"]]) for h in together.headers], dtype=np.int64)
            rejected = _take(together, np.flatnonzero(places < before))
            later = [_take(together, np.flatnonzero(places >= before))] if (places >= before).any() else []
        self.features, self.rejected = [], later
        self.comparison.take(done, offsets, features, rejected)


def _take(output: Output, rows: NDArray[np.int64]) -> Output:
    keys, values = ([column[row] for row in rows] for column in (output.keys, output.values))
    headers = None if output.headers is None else [output.headers[row] for row in rows]
    return Output(output.topic, output.partition[rows], output.timestamp[rows], keys, values, headers)


def _joined(outputs: list[Output]) -> Output | None:
    if not outputs:
        return None
    keys, values = ([value for output in outputs for value in column(output)] for column in (_keys, _values))
    headers = [header for output in outputs for header in output.headers or [None] * len(output)]
    partition, timestamp = (np.concatenate([getattr(o, name) for o in outputs]) for name in ("partition", "timestamp"))
    return Output(outputs[0].topic, partition, timestamp, keys, values, headers)


def _keys(output: Output) -> Sequence[bytes | None]:
    return output.keys


def _values(output: Output) -> Sequence[bytes | None]:
    return output.values


def replay_of(
    plan: Plan,
    history: History,
    schemas: SchemaSource,
    stretch: Stretch | None = None,
    *,
    compare: bool,
    progress: Progress = lambda n: None,  # noqa: ARG005
) -> Replay:
    """The replay that a plan needs."""
    kind = HopReplay if plan.hops else Replay
    return kind(plan, history, schemas, stretch, compare=compare, progress=progress)
