"""Labels that came before their prediction: a store."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.growth import grown
from tidemill.processors.key_index import KeyIndex
from tidemill.processors.outcomes.ageing import NEVER, SPARE, Ageing
from tidemill.processors.outcomes.cells import CellRows
from tidemill.processors.outcomes.ids import Ids
from tidemill.processors.outcomes.predictions import EVENT_ID, conformed

LABEL_TIME = "label_time"
PARTITION, OFFSET = "partition", "offset"
SEQUENCE, STATE = "sequence", "state"
WAITING, UNKNOWN, COUNTED, USED = 1, 2, 3, 4
"""Of a label: nothing came for it yet; its horizon has passed, and it was rejected, or counted; its prediction came."""
_FREE = 0
_FORGOTTEN = b"forgotten"


class EarlyLabels:
    """Labels by their place on the log, until their horizon is long over; a `Store`.

    A label whose prediction came is kept as used until then, since an older block may bring it back at a restart.
    """

    def __init__(self, ids: Ids, label: pa.Schema, kept: int, spare: int = SPARE) -> None:
        """`label` has at least `label_time` in microseconds, and the label's `partition` and `offset`."""
        self._ids, self._ageing, self._places = ids, Ageing(kept, spare), KeyIndex()
        self._rows = CellRows(pa.schema([*label, pa.field(SEQUENCE, pa.int64())]))
        self._events: NDArray[np.int64] = np.zeros(0, np.int64)
        self._state: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._changed: list[NDArray[np.int64]] = []
        self._next = 0
        self._oldest: int | None = None

    def add(self, events: NDArray[np.int64], labels: pa.Table) -> None:
        """Labels that begin to wait, in the order of the log, with the slots of their events' ids."""
        sequence = pa.array(np.arange(self._next, self._next + len(events)))
        self._next += len(events)
        slots = self._find(labels)
        self._put(slots, events, labels.append_column(SEQUENCE, sequence), np.full(len(slots), WAITING, np.uint8))
        self._changed.append(slots)

    def _find(self, labels: pa.Table) -> NDArray[np.int64]:
        parts = [pc.cast(labels[name], pa.string()) for name in (PARTITION, OFFSET)]
        slots = self._places.find(pc.binary_join_element_wise(*parts, "@").combine_chunks())
        if self._places.used > len(self._state):
            self._state = grown(self._state, self._places.used, 0)
            self._events = grown(self._events, self._places.used, 0)
        return slots

    def _put(
        self, slots: NDArray[np.int64], events: NDArray[np.int64], labels: pa.Table, state: NDArray[np.uint8]
    ) -> None:
        fresh = self._state[slots] == _FREE
        self._rows.clear(slots[~fresh])
        self._rows.put(slots, labels)
        self._state[slots], self._events[slots] = state, events
        self._ids.hold(events[fresh])
        times = self._rows.number(slots, LABEL_TIME)
        self._ageing.add(slots[fresh], times[fresh])
        waiting = times[state == WAITING]
        if len(waiting):
            self._oldest = int(waiting.min()) if self._oldest is None else min(self._oldest, int(waiting.min()))

    def of(self, events: NDArray[np.int64]) -> NDArray[np.int64]:
        """The labels that wait for these events, known or told as unknown, in the order in which they came."""
        live = np.flatnonzero((self._state != _FREE) & (self._state != USED))
        found = live[np.isin(self._events[live], events)]
        return found[np.argsort(self._rows.number(found, SEQUENCE), kind="stable")]

    def take(self, slots: NDArray[np.int64]) -> pa.Table:
        """The labels, with their events' ids."""
        rows = self._rows.take(slots).drop_columns([SEQUENCE])
        return rows.append_column(EVENT_ID, self._ids.take(self._events[slots]))

    def is_unknown(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which were rejected as unknown."""
        return np.asarray(self._state[slots] == UNKNOWN)

    def events(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        """The slots of the labels' events."""
        return self._events[slots]

    def overdue(self, before: int) -> NDArray[np.int64]:
        """The waiting labels that are dated before this time, in the order in which they came."""
        if self._oldest is None or self._oldest >= before:
            return np.zeros(0, np.int64)
        waiting = np.flatnonzero(self._state == WAITING)
        times = self._rows.number(waiting, LABEL_TIME)
        left = times[times >= before]
        self._oldest = int(left.min()) if len(left) else None
        due = waiting[times < before]
        return due[np.argsort(self._rows.number(due, SEQUENCE), kind="stable")]

    def mark(self, slots: NDArray[np.int64], state: int) -> None:
        """Say what became of these labels."""
        self._state[slots] = state
        self._changed.append(slots)

    @property
    def waiting(self) -> int:
        """How many wait and are not told as unknown."""
        return int(np.count_nonzero(self._state == WAITING))

    def forget(self, clock: int = NEVER) -> None:
        """Forget what is too old at this time, and what was forgotten before."""
        for _, slots in self._ageing.forget(clock):
            gone = np.unique(slots[self._state[slots] != _FREE])
            self._rows.clear(gone)
            self._state[gone] = _FREE
            self._places.free(gone)
            self._ids.release(self._events[gone])

    def changed(self) -> NDArray[np.int64]:
        """See `Store`."""
        slots = np.unique(np.concatenate([np.zeros(0, np.int64), *self._changed]))
        self._changed = []
        return slots

    def alive(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """See `Store`."""
        return np.asarray(self._state[slots] != _FREE)

    def rows(self, slots: NDArray[np.int64]) -> pa.RecordBatch:
        """See `Store`; with a note as in `Predictions.rows`."""
        table = self._rows.take(slots)
        ids, state = self._ids.take(self._events[slots]), pa.array(self._state[slots])
        own = [pa.field(EVENT_ID, pa.string()), pa.field(STATE, pa.uint8())]
        note = {_FORGOTTEN: str(self._ageing.forgotten).encode()}
        columns = [ids, state, *(column.combine_chunks() for column in table.columns)]
        return pa.record_batch(columns, schema=pa.schema([*own, *self._rows.schema], metadata=note))

    def apply(self, rows: pa.RecordBatch) -> NDArray[np.int64]:
        """See `Store`."""
        table = pa.Table.from_batches([rows])
        slots = self._find(table)
        events = self._ids.find(table[EVENT_ID].combine_chunks())
        state = table[STATE].to_numpy().astype(np.uint8)
        self._put(slots, events, conformed(table, self._rows.schema), state)
        self._next = max([self._next, *(np.asarray(table[SEQUENCE]) + 1).tolist()])
        self._ageing.forgotten = max(self._ageing.forgotten, int((rows.schema.metadata or {})[_FORGOTTEN]))
        self.forget()
        return slots

    @property
    def nbytes(self) -> int:
        """See `Store`."""
        return self._places.nbytes + self._rows.nbytes + self._state.nbytes + self._events.nbytes + self._ageing.nbytes

    def __len__(self) -> int:
        return len(self._places)
