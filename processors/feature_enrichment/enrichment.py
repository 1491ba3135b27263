"""The stage that turns checked events into features."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.columns import contiguous, plain_type, to_arrow, to_frame
from tidemill.processors.feature_enrichment.lookup_table import ReferenceTable, key_kind
from tidemill.processors.feature_enrichment.plan import SYSTEM_COLUMNS, Feature, Plan, version_column
from tidemill.processors.feature_enrichment.window_store import WindowStore, as_floats
from tidemill.processors.feature_enrichment.work import Work
from tidemill.schemas.batch import Batch, Origin, Processed
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import DeclarationError, nearest

_INSTANT = pa.timestamp("us", "UTC")
# In milliseconds, so that it fits into int64 in microseconds.
_FARTHEST = 2**62 // 1_000


class FeatureEnrichment:
    """A `Stage`: events in, one row of features for each that is accepted.

    An event is rejected as "enrichment_failed" if it has no id or no time, or if an expression raises for it. Windows
    count the events that pass the expressions which do not depend on windows; where an expression that does raises, the
    event has already been counted. Either way neither its neighbours nor the cut of the log have a part in it.

    Only windows on the events' own key can be computed here: where `hops` names other keys, the work is done by
    several stages instead (`processors/feature_enrichment/hops.py`), of which `begin` is the first one's.
    """

    name = "feature_enrichment"

    def __init__(
        self,
        features: Sequence[Feature],
        event: Contract,
        *,
        id_field: str,
        key_field: str,
        time_field: str,
        version: str,
        tables: Mapping[str, ReferenceTable] | None = None,
    ) -> None:
        """`version` is the pipeline's, and goes with every row; `tables` are those that lookups name.

        Raises DeclarationError where the declarations, the event and the tables do not fit together.
        """
        columns = event.arrow
        for field, role in ((id_field, "id"), (key_field, "key"), (time_field, "time")):
            if field not in columns.names:
                raise DeclarationError(
                    f"the event has no field {field!r} to be its {role}{nearest(field, columns.names)}"
                )
            kind = columns.field(field).type
            if not (pa.types.is_timestamp(kind) if role == "time" else key_kind(kind)):
                expected = (
                    "a timestamp" if role == "time" else "a string, a whole number, a boolean, a date or a timestamp"
                )
                raise DeclarationError(
                    f"field {field!r} is the event's {role} and has the type {kind}; expected {expected}"
                )
        self._id, self._key, self._time = id_field, key_field, time_field
        self.event, self.version = columns, version
        self.plan = Plan(features, columns, key_field, tables or {})
        self._local = self.plan.windows_on(key_field)
        # The time is always read: polars knows how many rows there are by having a column.
        self._columns = [name for name in columns.names if name in self.plan.event_columns | {time_field}]
        self._stores: dict[int, dict[str, WindowStore]] = {}

    @property
    def schema(self) -> pa.Schema:
        """Of the feature table: the event's identity and place in the log, the tables' versions, then the features."""
        return pa.schema([*SYSTEM_COLUMNS, *map(version_column, self.plan.versioned), *self.plan.features])

    def features_schema(self) -> list[pa.Field]:
        """The declared features alone, in declared order."""
        return list(self.plan.features)

    @property
    def hops(self) -> list[str]:
        """The keys of windows other than the events' own."""
        return self.plan.hops

    def begin(self, batch: Batch) -> Work:
        """What can be computed where the events are: all that windows do not decide, and windows on the events' key."""
        work = Work(batch, to_frame(batch.table.select(self._columns)))
        for field, role in ((self._id, "id"), (self._time, "time")):
            work.reject_nulls(field, role)
        for step in self.plan.before:
            work.run(step)
        if work.rows_left:
            work.frame = work.frame.hstack(self._windows(work))
        return work

    def process(self, batch: Batch) -> Processed:
        """See the class; windows are read and written in log order."""
        work = self.begin(batch)
        for step in self.plan.after:
            work.run(step)
        accepted = work.accepted()
        features = self._assemble(accepted, work.frame) if work.rows_left else self.schema.empty_table()
        return Processed(accepted.with_table(features), tuple(sorted(work.rejected, key=lambda r: r.row)))

    def stores(self, partition: int) -> Mapping[str, WindowStore]:
        """The partition's windows."""
        if partition not in self._stores:
            self._stores[partition] = {window.state_name: WindowStore(window) for window in self._local}
        return self._stores[partition]

    def clock(self, partition: int) -> dict[str, int]:  # noqa: ARG002 - a Stage
        """Empty: a window's clock is in its state."""
        return {}

    def restore_clock(self, partition: int, clock: Mapping[str, int]) -> None:
        """Nothing to do: see `clock`."""

    def drop(self, partition: int) -> None:
        """Forget the partition's windows."""
        self._stores.pop(partition, None)

    def _windows(self, work: Work) -> list[pl.Series]:
        batch = work.accepted()
        keys = strings(batch.table[self._key])
        times = instants(batch.table[self._time]).cast(pa.int64()).to_numpy()
        sent = sent_micros(batch.origin)
        made = []
        for window in self._local:
            values = {field: work.frame[field].to_arrow() for field in window.fields}
            numbers = as_floats(values, window.fields, len(batch))
            room: tuple[NDArray[np.float64], NDArray[np.uint8]] | None = None
            for partition, rows in batch.partitions():
                store = self.stores(partition)[window.state_name]
                out, valid = room = room or store.room(len(batch))
                here = {field: column[rows] for field, column in values.items()} if window.limits else {}
                store.update_into(keys[rows], times[rows], numbers[rows], here, sent[rows], out[rows], valid[rows])
            assert room is not None, "a batch with rows has a partition"
            made += [pl.Series(name, column) for name, column in store.columns(*room).items()]
        return made

    def identity(self, events: pa.Table) -> dict[str, pa.Array]:
        """The first of the system columns: what the event is called, what it belongs to, and when it was."""
        return {
            "event_id": strings(events[self._id]),
            "event_key": strings(events[self._key]),
            "event_time": instants(events[self._time]),
        }

    def _assemble(self, accepted: Batch, frame: pl.DataFrame) -> pa.Table:
        count = len(accepted)
        columns: list[pa.Array | pa.ChunkedArray] = [
            *self.identity(accepted.table).values(),
            pa.array(accepted.origin.partition, pa.int32()),
            pa.array(accepted.origin.offset, pa.int64()),
            pa.repeat(pa.scalar(self.version, pa.string()), count),
            *(pa.repeat(pa.scalar(table.version, pa.int64()), count) for table in self.plan.versioned),
        ]
        for field in self.plan.features:
            passed = field.name in accepted.table.column_names
            columns.append(
                accepted.table[field.name].cast(field.type) if passed else to_arrow(frame[field.name], field.type)
            )
        return pa.Table.from_arrays(columns, schema=self.schema)


def sent_micros(origin: Origin) -> NDArray[np.int64]:
    """When the events' records were sent: no event moves a window's clock beyond that."""
    micros: NDArray[np.int64] = np.clip(origin.timestamp, -_FARTHEST, _FARTHEST) * 1_000
    return micros


def strings(column: pa.ChunkedArray) -> pa.Array:
    """Values as text, as keys of windows are."""
    for kind in (plain_type(column.type), pa.string()):
        if column.type != kind:
            column = column.cast(kind)
    return contiguous(column)


def instants(column: pa.ChunkedArray) -> pa.Array:
    """Times in microseconds, UTC."""
    if column.type != _INSTANT:
        column = pc.cast(column, _INSTANT, safe=False)
    return contiguous(column)
