"""Feature enrichment in three steps, for windows on other keys than the events' own.

    feature_enrichment       where the events are: expressions, lookups, windows on the events' key
    windows_by_<field>       where the rows with one value of the field are: the windows kept by it
    feature_assembly         where the events are again: what depends on those windows, and the table of features

A window aggregates event fields and features that no window decides (`processors/feature_enrichment/plan.py` sees to
that). So every key's windows can be fed by the first step, side by side, and none waits for another's.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.columns import plain_type, to_arrow, to_frame
from tidemill.processors.feature_enrichment.enrichment import FeatureEnrichment, sent_micros, strings
from tidemill.processors.feature_enrichment.plan import SYSTEM_COLUMNS, version_column
from tidemill.processors.feature_enrichment.window import Window
from tidemill.processors.feature_enrichment.window_store import WindowStore
from tidemill.processors.feature_enrichment.work import Work
from tidemill.processors.stage import Stage, Store
from tidemill.schemas.batch import Batch, Processed

STREAM_TIME = "@stream_time"
"""By row: the greatest event time of its partition's accepted events so far, in microseconds."""
KEY = "@key"
"""By row: the value that a window is kept by, as text."""
EVENT_TIME = "@event_time"
ASSEMBLY = "feature_assembly"
_NEVER = int(np.iinfo(np.int64).min)


def windows_stage(key: str) -> str:
    """The name of the stage that computes the windows on a field."""
    return f"windows_by_{key}"


def split(whole: FeatureEnrichment) -> tuple[Stage, ...]:
    """The stages that together do what `whole` declares: itself if all its windows are on the events' key."""
    if not whole.hops:
        return (whole,)
    partial = PartialEnrichment(whole)
    windows = (KeyedWindows(key, partial) for key in whole.hops)
    return (partial, *windows, FeatureAssembly(whole, partial))


class PartialEnrichment:
    """A `Stage`: events in, and for each that is accepted all that later steps need of it (`schema`).

    Its clock is the partition's stream time. Only accepted events move it: an event that is refused for a time far
    ahead must not decide when others are counted.
    """

    name = FeatureEnrichment.name

    def __init__(self, whole: FeatureEnrichment) -> None:
        self._whole = whole
        plan = whole.plan
        made = {name for step in plan.after for name in step.names}
        made |= {name for key in plan.hops for window in plan.windows_on(key) for name in window.names}
        features = [field for field in plan.features if field.name not in made]
        event = {field.name: pa.field(field.name, plain_type(field.type)) for field in whole.event}
        versions = [version_column(table) for table in plan.versioned if table not in plan.joined_after]
        own = [*map(_internal, [*SYSTEM_COLUMNS[:3], *versions]), *features]
        self.assembly_schema = pa.schema([*own, *_missing(event, plan.reads_after, own)])
        """The columns from which features are assembled."""
        fields = {name for key in plan.hops for window in plan.windows_on(key) for name in (key, *window.fields)}
        all_of = [*self.assembly_schema, *_missing(event, fields, self.assembly_schema)]
        self.schema = pa.schema([*all_of, pa.field(STREAM_TIME, pa.int64(), nullable=False)])
        self._stream_times: dict[int, int] = {}

    def windows_on(self, key: str) -> list[Window]:
        """The windows that are kept by this field."""
        return self._whole.plan.windows_on(key)

    def window_schema(self, key: str) -> pa.Schema:
        """The columns that the windows on a field read: the key, the time and what is aggregated."""
        fields = sorted({name for window in self.windows_on(key) for name in window.fields})
        return pa.schema(
            [pa.field(KEY, pa.string()), self.schema.field(EVENT_TIME), *(self.schema.field(f) for f in fields)]
        )

    def for_windows(self, key: str, table: pa.Table) -> pa.Table:
        """Those columns of what this stage has made."""
        schema = self.window_schema(key)
        return pa.table([strings(table[key]), *(table[name] for name in schema.names[1:])], schema=schema)

    def process(self, batch: Batch) -> Processed:
        """Accept the events for which everything here can be computed."""
        work = self._whole.begin(batch)
        accepted = work.accepted()
        table = self._carry(accepted, work) if work.rows_left else self.schema.empty_table()
        return Processed(accepted.with_table(table), tuple(sorted(work.rejected, key=lambda r: r.row)))

    def _carry(self, accepted: Batch, work: Work) -> pa.Table:
        identity = {f"@{name}": column for name, column in self._whole.identity(accepted.table).items()}
        columns: list[pa.Array | pa.ChunkedArray] = []
        versions = {f"@{version_column(table).name}": table.version for table in self._whole.plan.versioned}
        for field in self.schema:
            if field.name in identity:
                columns.append(identity[field.name])
            elif field.name in versions:
                columns.append(pa.repeat(pa.scalar(versions[field.name], pa.int64()), len(accepted)))
            elif field.name == STREAM_TIME:
                columns.append(pa.array(self._advance(accepted, identity[EVENT_TIME])))
            elif field.name in accepted.table.column_names:
                columns.append(accepted.table[field.name].cast(field.type))
            else:
                columns.append(to_arrow(work.frame[field.name], field.type))
        return pa.table(columns, schema=self.schema)

    def _advance(self, accepted: Batch, times: pa.Array) -> NDArray[np.int64]:
        micros = times.cast(pa.int64()).to_numpy()
        reached = np.empty(len(micros), dtype=np.int64)
        for partition, rows in accepted.partitions():
            reached[rows] = np.maximum.accumulate(np.maximum(micros[rows], self.stream_time(partition)))
            self._stream_times[partition] = int(reached[rows][-1])
        return reached

    def stream_time(self, partition: int) -> int:
        """The greatest event time of the partition's accepted events, in microseconds."""
        return self._stream_times.get(partition, _NEVER)

    def stores(self, partition: int) -> Mapping[str, Store]:
        """The windows on the events' key."""
        return self._whole.stores(partition)

    def clock(self, partition: int) -> dict[str, int]:
        """The stream time."""
        return {"stream_time": self.stream_time(partition)}

    def restore_clock(self, partition: int, clock: Mapping[str, int]) -> None:
        """Put back what `clock` gave."""
        self._stream_times[partition] = clock.get("stream_time", _NEVER)

    def drop(self, partition: int) -> None:
        """Forget the partition."""
        self._whole.drop(partition)
        self._stream_times.pop(partition, None)


class KeyedWindows:
    """A `Stage`: rows of one partition of a hop's topic in, the features of the windows on its key out.

    A row's partition is the hop's here, not its event's. Rows are counted in the order given.
    """

    def __init__(self, key: str, partial: PartialEnrichment) -> None:
        self.key, self.name = key, windows_stage(key)
        self.reads = partial.window_schema(key)
        self._windows = partial.windows_on(key)
        self._stores: dict[int, dict[str, WindowStore]] = {}
        counts = [(name, a.counts) for window in self._windows for name, a in window.aggregates]
        self.schema = pa.schema([pa.field(n, pa.int64() if c else pa.float64(), nullable=not c) for n, c in counts])
        """The features made, in declared order."""

    def nothing(self, rows: int) -> pa.Table:
        """What a null key is answered, for so many rows."""
        columns = [pa.repeat(pa.scalar(None if f.nullable else 0, f.type), rows) for f in self.schema]
        return pa.table(columns, schema=self.schema)

    def process(self, batch: Batch) -> Processed:
        """No row is rejected."""
        pieces = [self.schema.empty_table()]
        for partition, rows in batch.partitions():
            here = batch.table.slice(rows.start, rows.stop - rows.start)
            keys = here[KEY].combine_chunks()
            times = here[EVENT_TIME].cast(pa.int64()).to_numpy()
            sent = sent_micros(batch.origin)[rows]
            made: dict[str, pa.Array] = {}
            for window in self._windows:
                values = {name: here[name].combine_chunks() for name in window.fields}
                made |= self.stores(partition)[window.state_name].update(keys, times, values, sent)
            pieces.append(pa.table(made).cast(self.schema))
        return Processed(batch.with_table(pa.concat_tables(pieces)))

    def stores(self, partition: int) -> Mapping[str, WindowStore]:
        """The partition's windows."""
        if partition not in self._stores:
            self._stores[partition] = {window.state_name: WindowStore(window) for window in self._windows}
        return self._stores[partition]

    def clock(self, partition: int) -> dict[str, int]:  # noqa: ARG002 - a Stage
        """Empty: a window's time is that of its key, and is in the state."""
        return {}

    def restore_clock(self, partition: int, clock: Mapping[str, int]) -> None:
        """Nothing to do: see `clock`."""

    def drop(self, partition: int) -> None:
        """Forget the partition's windows."""
        self._stores.pop(partition, None)


class FeatureAssembly:
    """A `Stage`: what the first step and the windows have made in, one row of features for each out.

    An event is rejected as "enrichment_failed" if an expression that depends on windows raises for it.
    """

    name = ASSEMBLY

    def __init__(self, whole: FeatureEnrichment, partial: PartialEnrichment) -> None:
        self._whole, self.reads = whole, partial.assembly_schema
        made = {name for step in whole.plan.after for name in step.names}
        # The time is always read: polars knows how many rows there are by having a column.
        self._frame = [EVENT_TIME, *sorted(whole.plan.reads_after - made)]

    def process(self, batch: Batch) -> Processed:
        """Run the steps that depend on windows, and put the features in order."""
        work = Work(batch, to_frame(batch.table.select(self._frame)))
        for step in self._whole.plan.after:
            work.run(step)
        accepted = work.accepted()
        table = self._assemble(accepted, work) if work.rows_left else self._whole.schema.empty_table()
        return Processed(accepted.with_table(table), tuple(sorted(work.rejected, key=lambda r: r.row)))

    def _assemble(self, accepted: Batch, work: Work) -> pa.Table:
        count, origin, here = len(accepted), accepted.origin, accepted.table.column_names
        fixed = {
            "source_partition": pa.array(origin.partition, pa.int32()),
            "source_offset": pa.array(origin.offset, pa.int64()),
            "pipeline_version": pa.repeat(pa.scalar(self._whole.version, pa.string()), count),
        }
        for table in self._whole.plan.joined_after:
            fixed[version_column(table).name] = pa.repeat(pa.scalar(table.version, pa.int64()), count)
        columns = []
        for field in self._whole.schema:
            if field.name in fixed:
                columns.append(fixed[field.name])
            elif f"@{field.name}" in here:
                columns.append(accepted.table[f"@{field.name}"].cast(field.type))
            elif field.name in here:
                columns.append(accepted.table[field.name].cast(field.type))
            else:
                columns.append(to_arrow(work.frame[field.name], field.type))
        return pa.table(columns, schema=self._whole.schema)

    def stores(self, partition: int) -> Mapping[str, Store]:  # noqa: ARG002 - a Stage
        """None."""
        return {}

    def clock(self, partition: int) -> dict[str, int]:  # noqa: ARG002 - a Stage
        """Empty."""
        return {}

    def restore_clock(self, partition: int, clock: Mapping[str, int]) -> None:
        """Nothing to do."""

    def drop(self, partition: int) -> None:
        """Nothing to do."""


def _internal(field: pa.Field) -> pa.Field:
    """A column that neither a field nor a feature can have the name of."""
    return field.with_name(f"@{field.name}")


def _missing(event: Mapping[str, pa.Field], names: set[str], known: Sequence[pa.Field]) -> list[pa.Field]:
    """The event's fields among `names` that are not known yet."""
    taken = {field.name for field in known}
    return [field for name, field in event.items() if name in names and name not in taken]
