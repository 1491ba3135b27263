"""Replay: the events of the log once more through the same stages, and whether the same features come out.

It is made from the topics alone and writes to none of them. State begins where the events topic begins, so that
whatever the live run knew of earlier events is known here too.
"""

import json
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import StreamError
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.comparison import Comparison, PartitionReplay, Stretch
from tidemill.streams.feature_index import FeatureIndex, batches
from tidemill.streams.memory import MemoryLog, MemoryReader, columns
from tidemill.streams.plan import Plan
from tidemill.streams.ports import History, LogRecord
from tidemill.streams.table_history import TableHistory
from tidemill.streams.task import Task

STAGES = ("sanity_check", "feature_enrichment")
Progress = Callable[[int], None]


class Replay:
    """Replays a pipeline's partitions, one after the other.

    `plan` must be of its own (`Pipeline.make_plan`): its topic tables are moved. With `compare`, they are as they were
    for each event; without, as they are now.
    """

    stage = STAGES[-1]
    """The stage that makes the features."""

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
        if compare:
            plan.require_published("features", "a replay that compares")
        self._plan, self._history, self._schemas = plan, history, schemas
        self._stretch, self._compare, self._progress = stretch or Stretch(), compare, progress
        self.events = plan.topic("events")
        self.partitions = history.partitions(self.events)
        # An empty changelog: nothing is known before the first event.
        log = MemoryLog({plan.topic("changelog"): len(self.partitions)})
        self._task = Task(plan, STAGES, schemas, MemoryReader(log), lambda suffix: None)  # noqa: ARG005
        self._features = Codec(plan.contracts["features"], schemas)
        self.tables = {
            table.table.name: TableHistory(table, list(history.read(table.topic, 0)), schemas)
            for table in plan.topic_tables
        }

    def choose(self, partition: int | None) -> list[int]:
        """This partition, or all of them; raises StreamError if there is none of that number."""
        if partition is None:
            return self.partitions
        if partition not in self.partitions:
            raise StreamError(f"{self.events} has partitions 0 to {len(self.partitions) - 1}, and no {partition}")
        return [partition]

    def total(self, partitions: Sequence[int]) -> int:
        """How many offsets there are to read."""
        total = sum(self._stop(p) - self._history.beginning(self.events, p) for p in partitions)
        if self._compare:
            topic = self._plan.topic("features")
            total += sum(self._history.end(topic, p) - self._history.beginning(topic, p) for p in partitions)
        return total

    def _stop(self, partition: int) -> int:
        end = self._history.end(self.events, partition)
        return end if self._stretch.stop is None else min(end, self._stretch.stop)

    def partition(self, partition: int) -> PartitionReplay:
        """Replay one partition.

        Raises:
            StreamError: there is nothing to compare with: its features were made by another version of the pipeline,
                or retention has deleted events on which they depend.

        """
        made = PartitionReplay(partition)
        comparison, index = self._begin(made)
        self._task.assigned(partition)
        for table in self.tables.values():
            table.move_to(0 if self._compare else table.newest)
        for records in batches(self._history.read(self.events, partition, 0, self._stop(partition))):
            for part in self._by_tables(records, index):
                self._step(part, comparison)
            self._progress(len(records))
        self._task.revoked(partition)
        made.differences = comparison.differences(self._history, self._features)
        return made

    def _begin(self, made: PartitionReplay) -> tuple[Comparison, FeatureIndex | None]:
        """Find what there is to compare a partition's replay with."""
        partition, reached, index = made.partition, 0, None
        if self._compare:
            self._require_all(partition)
            # First how far the live run is, then its features: those below that position were committed with it.
            reached = self._reached(partition)
            index = FeatureIndex(
                self._plan, partition, self._stop(partition), self._history, self._schemas, self._progress
            )
            made.surplus += index.foreign
        return Comparison(made, index, reached, self._stretch), index

    def _require_all(self, partition: int) -> None:
        first = self._history.beginning(self.events, partition)
        if first:
            raise StreamError(
                f"{self.events}[{partition}] begins at offset {first}: retention has deleted the events before it, on"
                " which windows, remembered ids and the watermark of later ones may depend, so that a difference would"
                " prove nothing; compare before the topic's retention.ms has passed, or give it a longer one"
            )

    def _reached(self, partition: int) -> int:
        reached = 0
        for record in self._history.read(self._plan.topic("changelog"), partition):
            if record.key == f"position/{self.stage}".encode() and record.value is not None:
                reached = int(json.loads(record.value)["source_offset"])
        return reached

    def _by_tables(self, records: list[LogRecord], index: FeatureIndex | None) -> Iterator[list[LogRecord]]:
        """Cut where the live run's tables had moved on, and move ours.

        An event without features was rejected, and stays with those before it.
        """
        start = 0
        if index is not None and self.tables:
            for place, record in enumerate(records):
                versions = {name: int(index.tables[name][record.offset]) for name in self.tables}
                if index.place[record.offset] >= 0 and versions != self._versions():
                    yield records[start:place]
                    for name, version in versions.items():
                        self.tables[name].move_to(version)
                    start = place
        yield records[start:]

    def _versions(self) -> dict[str, int]:
        return {name: table.version for name, table in self.tables.items()}

    def _step(self, records: list[LogRecord], comparison: Comparison) -> None:
        if not records:
            return
        prepared = self._task.prepare(columns(records))
        self._task.committed(prepared)
        by_topic = {output.topic: output for output in prepared.outputs}
        features = by_topic.get(self._plan.topic("features"))
        rejected = by_topic.get(self._plan.topic("rejected"))
        offsets = np.empty(0, dtype=np.int64)
        if features is not None:
            offsets = self._features.decode(features.values).table["source_offset"].to_numpy()
        comparison.take(records, offsets, features, rejected)
