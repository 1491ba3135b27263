"""Reference tables in memory, indexed by their key."""

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa

from tidemill.processors.feature_enrichment.columns import plain_type, to_frame
from tidemill.schemas.errors import DeclarationError, nearest

_Key = tuple[Hashable, ...]


class ReferenceTable:
    """Rows of a file or of a compacted topic, looked up by the columns of `key`.

    Held in memory, with a Python dict as its index: meant for tables of up to a few million rows. A join costs as much
    as the batch is long, however long the table is.

    `version` is None for a file, whose content belongs to the pipeline's version. For a topic it is the next offset to
    read: whoever applies the topic's records keeps it, and every event's features carry it.
    """

    def __init__(self, name: str, schema: pa.Schema, key: Sequence[str], version: int | None = None) -> None:
        """`schema` is that of the rows, key columns included. Raises DeclarationError where the key does not fit it."""
        for column in key:
            if column not in schema.names:
                raise DeclarationError(
                    f"table {name!r}: key column {column!r} does not exist{nearest(column, schema.names)}"
                )
            if key_kind(schema.field(column).type) is None:
                raise DeclarationError(
                    f"table {name!r}: key column {column!r} has the type {schema.field(column).type}; expected whole "
                    f"numbers, strings, booleans, dates or timestamps in UTC or without a time zone"
                )
        self.name = name
        self.schema = schema
        self.key = tuple(key)
        self.version = version
        self._values = [column for column in schema.names if column not in self.key]
        # Rows are only ever appended; those that were overwritten or deleted stay until half of them are such.
        self._rows = to_frame(schema.empty_table()).select(self._values)
        self._index: dict[_Key, int] = {}
        self._keys_of_records: dict[Hashable, _Key] = {}
        self._owners: dict[_Key, Hashable] = {}

    def __len__(self) -> int:
        return len(self._index)

    def replace(self, table: pa.Table) -> None:
        """Hold these rows instead, those of a file; their keys must be unique. Raises DeclarationError."""
        frame = to_frame(table.select(self.schema.names).cast(self.schema))
        index: dict[_Key, int] = {}
        for row, key in enumerate(_keys(map(frame.get_column, self.key))):
            if None in key:
                continue
            if index.setdefault(key, row) != row:
                shown = ", ".join(f"{column}={frame[column][row]}" for column in self.key)
                raise DeclarationError(
                    f"table {self.name!r}: rows {index[key] + 1} and {row + 1} have the same key, {shown}; expected "
                    f"each key once: remove one, or add a column to the key"
                )
        self._rows, self._index = frame.select(self._values), index

    def upsert(self, records: Sequence[Hashable], rows: pa.Table) -> None:
        """Put rows of the topic in the place of those with the same record keys, in the order given.

        Of two records with the same key columns the later one is found, and none once that is deleted. A row with a
        null in its key is not found.
        """
        frame = to_frame(rows.select(self.schema.names).cast(self.schema))
        start = self._rows.height
        self._rows = self._rows.vstack(frame.select(self._values))
        for i, (record, key) in enumerate(zip(records, _keys(map(frame.get_column, self.key)), strict=True)):
            self._forget(record)
            if None not in key:
                self._keys_of_records[record] = key
                self._owners[key] = record
                self._index[key] = start + i
        self._compact()

    def delete(self, records: Sequence[Hashable]) -> None:
        """Remove the rows of these record keys; unknown ones are nothing to do."""
        for record in records:
            self._forget(record)
        self._compact()

    def join(
        self, event_columns: Iterable[pl.Series], wanted: Mapping[str, tuple[str, pl.DataType]] | None = None
    ) -> pl.DataFrame:
        """For each event the `wanted`: by name a column, and the type to have it in; null where no row has its key.

        The events' columns stand in the order of the key, whatever their names. By default all columns besides the key.
        """
        found = pl.lit(pl.Series(map(self._index.get, _keys(event_columns)), dtype=pl.Int64))
        if wanted is None:
            return self._rows.select(pl.all().gather(found))
        columns = ((name, pl.col(column).gather(found), kind) for name, (column, kind) in wanted.items())
        return self._rows.select(column.cast(kind).alias(name) for name, column, kind in columns)

    def _forget(self, record: Hashable) -> None:
        key = self._keys_of_records.pop(record, None)
        if key is not None and self._owners.get(key) == record:
            del self._index[key], self._owners[key]

    def _compact(self) -> None:
        if self._rows.height <= 2 * len(self._index) + 1_000 and self._rows.n_chunks() <= 100:
            return
        kept = np.fromiter(self._index.values(), np.int64, len(self._index))
        self._rows = self._rows[kept].rechunk()
        self._index = {key: row for row, key in enumerate(self._index)}


def key_kind(kind: pa.DataType) -> str | None:
    """What a key column of this type may be compared with: columns of the same kind. None if it cannot be a key."""
    kind = plain_type(kind)
    if pa.types.is_timestamp(kind):
        return {None: "timestamp without time zone", "UTC": "timestamp in UTC"}.get(kind.tz)
    tests = {
        "whole number": pa.types.is_integer,
        "string": lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t),
        "boolean": pa.types.is_boolean,
        "date": pa.types.is_date32,
    }
    return next((name for name, test in tests.items() if test(kind)), None)


def _keys(columns: Iterable[pl.Series]) -> Iterator[_Key]:
    """The rows as values that are equal whenever they mean the same, whatever the columns' widths and units."""
    return zip(*map(_comparable, columns), strict=True)


def _comparable(column: pl.Series) -> list[Hashable]:
    if isinstance(column.dtype, pl.Datetime):
        column = column.cast(pl.Datetime("us", column.dtype.time_zone))
    # Moments and days as numbers: Python's own objects for them are slow to make and to hash.
    return (column.to_physical() if column.dtype.is_temporal() else column).to_list()
