"""The label that counts of each prediction that has one: a store."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.growth import grown
from tidemill.processors.outcomes.cells import CellRows
from tidemill.processors.outcomes.ids import Ids
from tidemill.processors.outcomes.predictions import EVENT_ID, conformed

LABEL, REVISION = "label", "revision"


class Answers:
    """Labels with their revisions by event id, for as long as the prediction is kept; a `Store`."""

    def __init__(
        self, ids: Ids, label: pa.DataType, predicted: Callable[[NDArray[np.int64]], NDArray[np.bool_]]
    ) -> None:
        """`predicted` says which slots have a prediction: without it a label is of no use."""
        self._ids, self._predicted = ids, predicted
        self._rows = CellRows(pa.schema([pa.field(LABEL, label), pa.field(REVISION, pa.int64())]))
        self._held: NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._count = 0
        self._changed: list[NDArray[np.int64]] = []

    def has(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the ids have a label."""
        if self._ids.used > len(self._held):
            self._held = grown(self._held, self._ids.used, 0)
        return self._held[slots]

    def put(self, slots: NDArray[np.int64], table: pa.Table) -> None:
        """The labels that count from now on; each slot once."""
        self._put(slots, table)
        self._changed.append(slots)

    def _put(self, slots: NDArray[np.int64], table: pa.Table) -> None:
        self.drop(slots)
        self._rows.put(slots, table)
        self._held[slots] = True
        self._count += len(slots)

    def take(self, slots: NDArray[np.int64]) -> pa.Table:
        """Label and revision of slots that have one."""
        return self._rows.take(slots)

    def drop(self, slots: NDArray[np.int64]) -> None:
        """Forget the labels of those slots that have one."""
        here = slots[self.has(slots)]
        self._rows.clear(here)
        self._held[here] = False
        self._count -= len(here)

    def changed(self) -> NDArray[np.int64]:
        """See `Store`."""
        slots = np.unique(np.concatenate([np.zeros(0, np.int64), *self._changed]))
        self._changed = []
        return slots

    def alive(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """See `Store`."""
        return self.has(slots) & self._predicted(slots)

    def rows(self, slots: NDArray[np.int64]) -> pa.RecordBatch:
        """See `Store`."""
        table = self._rows.take(slots)
        columns = [self._ids.take(slots), *(column.combine_chunks() for column in table.columns)]
        return pa.record_batch(columns, schema=pa.schema([pa.field(EVENT_ID, pa.string()), *self._rows.schema]))

    def apply(self, rows: pa.RecordBatch) -> NDArray[np.int64]:
        """See `Store`. What has no prediction when all is put back is dropped by `settle`."""
        table = pa.Table.from_batches([rows])
        slots = self._ids.find(table[EVENT_ID].combine_chunks())
        self._put(slots, conformed(table, self._rows.schema))
        return slots

    def settle(self) -> None:
        """Forget labels without a prediction: those of blocks that are older than what was forgotten."""
        held = np.flatnonzero(self._held)
        orphans = held[~self._predicted(held)]
        self.drop(orphans)
        self._ids.sweep(orphans)

    @property
    def nbytes(self) -> int:
        """See `Store`."""
        return self._rows.nbytes + self._held.nbytes

    def __len__(self) -> int:
        return self._count
