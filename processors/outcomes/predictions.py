"""The predictions that wait for their labels: a store."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.growth import grown
from tidemill.processors.outcomes.ageing import NEVER, SPARE, Ageing
from tidemill.processors.outcomes.cells import CellRows
from tidemill.processors.outcomes.ids import Ids

EVENT_ID, EVENT_TIME = "event_id", "event_time"
SENT = "sent"
"""When the event's record was sent, in microseconds."""
SOURCE_PARTITION, SOURCE_OFFSET = "source_partition", "source_offset"
"""Where its event stands."""
_FORGOTTEN = b"forgotten"


class Predictions:
    """Rows by event id, kept for as long as `kept` says after their time, the column `since`; a `Store`.

    Columns of `schema` are found by name when rows are put back, so that one that was added since is null.
    """

    def __init__(self, ids: Ids, schema: pa.Schema, kept: int, spare: int = SPARE, *, since: str = EVENT_TIME) -> None:
        """`schema` has `event_time` and `since`, both in microseconds, and not the id."""
        self._since = since
        self._ids, self._ageing = ids, Ageing(kept, spare)
        self._rows = CellRows(schema)
        self._held: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._count = 0
        self._changed: list[NDArray[np.int64]] = []
        self.followers: list[Callable[[NDArray[np.int64]], None]] = []
        """Told which slots are about to be forgotten."""

    @property
    def schema(self) -> pa.Schema:
        """The columns."""
        return self._rows.schema

    def has(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the ids have a prediction."""
        if self._ids.used > len(self._held):
            self._held = grown(self._held, self._ids.used, 0)
        return self._held[slots]

    def add(self, slots: NDArray[np.int64], table: pa.Table) -> None:
        """Rows for ids that have none; each once."""
        self._put(slots, table)
        self._ids.hold(slots)
        self._changed.append(slots)

    def _put(self, slots: NDArray[np.int64], table: pa.Table) -> None:
        self.has(slots)
        self._rows.put(slots, table)
        self._held[slots] = True
        self._count += len(slots)
        self._ageing.add(slots, self.times(slots))

    def times(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """From when on labels are waited for, in microseconds."""
        return self._rows.number(slots, self._since)

    def event_times(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """The event times, in microseconds."""
        return self._rows.number(slots, EVENT_TIME)

    def take(self, slots: NDArray[np.int64]) -> pa.Table:
        """The rows."""
        return self._rows.take(slots)

    def forget(self, clock: int = NEVER) -> None:
        """Forget what is too old at this time, and what was forgotten before."""
        for step, slots in self._ageing.forget(clock):
            here = np.unique(slots[self.has(slots)])
            gone = here[self._ageing.step_of(self.times(here)) == step]
            for drop in self.followers:
                drop(gone)
            self._drop(gone)
            self._ids.release(gone)

    def _drop(self, slots: NDArray[np.int64]) -> None:
        self._rows.clear(slots)
        self._held[slots] = False
        self._count -= len(slots)

    def changed(self) -> NDArray[np.int64]:
        """See `Store`."""
        slots = np.unique(np.concatenate([np.zeros(0, np.int64), *self._changed]))
        self._changed = []
        return slots

    def alive(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """See `Store`."""
        return self.has(slots)

    def rows(self, slots: NDArray[np.int64]) -> pa.RecordBatch:
        """See `Store`; with a note of what is forgotten, so that nothing of that comes back with an older block."""
        note = {_FORGOTTEN: str(self._ageing.forgotten).encode()}
        table = self._rows.take(slots).combine_chunks()
        columns = [self._ids.take(slots), *(column.combine_chunks() for column in table.columns)]
        schema = pa.schema([pa.field(EVENT_ID, pa.string()), *self._rows.schema], metadata=note)
        return pa.record_batch(columns, schema=schema)

    def apply(self, rows: pa.RecordBatch) -> NDArray[np.int64]:
        """See `Store`."""
        table = pa.Table.from_batches([rows])
        slots = self._ids.find(table[EVENT_ID].combine_chunks())
        here = self.has(slots)
        self._drop(slots[here])
        self._put(slots, conformed(table, self._rows.schema))
        self._ids.hold(slots[~here])
        self._ageing.forgotten = max(self._ageing.forgotten, int((rows.schema.metadata or {})[_FORGOTTEN]))
        self.forget()
        return slots

    @property
    def nbytes(self) -> int:
        """See `Store`; the ids' own bytes are counted here."""
        return self._ids.nbytes + self._rows.nbytes + self._held.nbytes + self._ageing.nbytes

    def __len__(self) -> int:
        return self._count


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly these columns, null where it has none."""
    columns = []
    for field in schema:
        known = field.name in table.column_names
        columns.append(table[field.name].cast(field.type) if known else pa.nulls(len(table), field.type))
    return pa.table(columns, schema=pa.schema([field.with_nullable(True) for field in schema]))
