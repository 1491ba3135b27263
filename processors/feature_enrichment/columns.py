"""Between Arrow columns, which stages pass on, and polars columns, which expressions are computed on."""

import polars as pl
import pyarrow as pa

from tidemill.processors.frames import to_polars
from tidemill.schemas.errors import DeclarationError

_FEATURE_TYPES: dict[type[pl.DataType], pa.DataType] = {
    pl.Boolean: pa.bool_(),
    pl.Int8: pa.int32(),
    pl.Int16: pa.int32(),
    pl.Int32: pa.int32(),
    pl.Int64: pa.int64(),
    pl.UInt8: pa.int32(),
    pl.UInt16: pa.int32(),
    pl.UInt32: pa.int64(),
    pl.Float32: pa.float32(),
    pl.Float64: pa.float64(),
    pl.String: pa.string(),
    pl.Date: pa.date32(),
}


def to_frame(table: pa.Table) -> pl.DataFrame:
    """The table for polars; encoded columns come out as their plain values.

    Dictionary codes depend on which values came first, so that nothing may be computed from them.
    """
    if any(pa.types.is_dictionary(kind) for kind in table.schema.types):
        table = table.cast(pa.schema([field.with_type(plain_type(field.type)) for field in table.schema]))
    return to_polars(table)


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves."""
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def polars_type(kind: pa.DataType) -> pl.DataType:
    """What a column of an Arrow type is in polars."""
    return to_frame(pa.schema([("column", kind)]).empty_table()).schema["column"]


def feature_type(name: str, kind: pl.DataType) -> pa.DataType:
    """The type that a feature of this polars type has in the log: the narrowest of Avro's that holds its values.

    Raises DeclarationError where there is none.
    """
    if isinstance(kind, pl.Datetime) and kind.time_zone in (None, "UTC"):
        return pa.timestamp("us", kind.time_zone)
    arrow = _FEATURE_TYPES.get(type(kind))
    if arrow is None:
        raise DeclarationError(
            f"feature {name!r} has the type {kind}; expected a number of at most 64 bits with a sign, a boolean, "
            f"a string, a date, or a timestamp in UTC or without a time zone; convert it, as with .cast(pl.Int64), "
            f".dt.total_seconds() or .dt.convert_time_zone('UTC')"
        )
    return arrow


def to_arrow(column: pl.Series, kind: pa.DataType) -> pa.Array:
    """The column as exactly this Arrow type."""
    array = column.to_arrow()
    return array if array.type == kind else array.cast(kind)


def contiguous(column: pa.ChunkedArray) -> pa.Array:
    """The column in one piece; as it is, if it already is."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
