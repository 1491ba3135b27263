"""The task that takes in labels."""

from collections.abc import Callable, Sequence

import pyarrow as pa

from tidemill.processors.outcomes.early import OFFSET, PARTITION
from tidemill.processors.outcomes.join import RECORD_TIME
from tidemill.schemas.batch import Batch
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.outcomes.scored import by_id
from tidemill.streams.plan import SCORED, Plan
from tidemill.streams.ports import LogReader, Output, Prepared, Records
from tidemill.streams.task import NO_EVENTS, Task


class IntakeTask(Task):
    """A `Task` over P.labels, each record of which is a source of its own, as events are."""

    def __init__(
        self,
        plan: Plan,
        stages: Sequence[str],
        schemas: SchemaSource,
        reader: LogReader,
        prefix: Callable[[str], bytes | None],
        partitions: int,
    ) -> None:
        super().__init__(plan, stages, schemas, reader, prefix, partitions)
        self._is_source = True

    def prepare(self, records: Records) -> Prepared:
        """As `Task.prepare`; no event is answered."""
        prepared = super().prepare(records)
        return Prepared(prepared.outputs, prepared.changelog, prepared.offsets, prepared.counts, NO_EVENTS)

    def _emit(self, stage: str, batch: Batch, records: Records) -> list[Output]:  # noqa: ARG002 - a Task
        if not len(batch):
            return []
        own = (batch.origin.partition.astype("int64"), batch.origin.offset, batch.origin.timestamp)
        table = batch.table
        for name, column in zip((PARTITION, OFFSET, RECORD_TIME), own, strict=True):
            table = table.append_column(name, pa.array(column))
        return [by_id(self.plan.topic(SCORED), table, stage, self._partitions, {}, everyone=False)]
