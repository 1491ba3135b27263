"""How the columns of a topic are stored in a Delta table: types that Delta has, and where each row came from.

| a contract's column | as stored |
| --- | --- |
| int32, int64 | int64 |
| float32, float64 | float64 |
| string, enum; bytes, fixed | string; binary |
| timestamp[ms, us], with or without a zone | timestamp[us], the same |
| timestamp[ns]; time | int64, in the column's own unit |
| null | string |
| array, map, record | the same, of the types above |
| all else | the same |

Numbers are stored in their widest type, because a contract may widen them later (int to long, float to double) and a
table's columns keep their types.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from tidemill.schemas.errors import DeclarationError, StreamError
from tidemill.streams.ports import LogRecord

PARTITION, OFFSET, TIMESTAMP = "_partition", "_offset", "_timestamp"
"""The columns that say where a row's message stands, and what its record's timestamp is."""
PLACE = pa.schema(
    [
        pa.field(PARTITION, pa.int32(), nullable=False),
        pa.field(OFFSET, pa.int64(), nullable=False),
        pa.field(TIMESTAMP, pa.timestamp("us", "UTC"), nullable=False),
    ]
)


def stored_type(kind: pa.DataType) -> pa.DataType:
    """The type of a Delta table's column that holds every value of this type, and those that it may be widened to."""
    if pa.types.is_integer(kind) or pa.types.is_time(kind):
        return pa.int64()
    if pa.types.is_floating(kind):
        return pa.float64()
    if pa.types.is_timestamp(kind):
        return pa.int64() if kind.unit == "ns" else pa.timestamp("us", kind.tz)
    if pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    if pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_list(kind):
        return pa.list_(pa.field("element", stored_type(kind.value_type)))
    if pa.types.is_map(kind):
        return pa.map_(stored_type(kind.key_type), stored_type(kind.item_type))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, stored_type(field.type)) for field in kind])
    return kind


def stored_schema(contract: pa.Schema) -> pa.Schema:
    """The columns of the table that holds the messages of a contract; all but where they stand may be null.

    Raises:
        DeclarationError: a field has a name of ours, or that of another field but for upper and lower case.

    """
    lower: dict[str, str] = {}
    for field in contract:
        former = lower.setdefault(field.name.lower(), field.name)
        if former != field.name:
            raise DeclarationError(
                f"the fields {former!r} and {field.name!r} are the same to a Delta table, which has no case; rename one"
            )
        if field.name.lower() in PLACE.names:
            raise DeclarationError(f"the archive needs the column name {field.name!r} itself; rename the field")
    return pa.schema([*(pa.field(field.name, stored_type(field.type)) for field in contract), *PLACE])


def stored(table: pa.Table, records: Sequence[LogRecord]) -> pa.Table:
    """Decoded messages as they are stored, beside where each one stands."""
    columns = [_cast(column, stored_type(column.type)) for column in table.columns]
    places = (
        pa.array(np.array([record.partition for record in records], np.int32)),
        pa.array(np.array([record.offset for record in records], np.int64)),
        pa.array(np.array([record.timestamp * 1000 for record in records], np.int64)).cast(PLACE.field(TIMESTAMP).type),
    )
    return pa.table([*columns, *places], schema=stored_schema(table.schema))


def require_fit(uri: str, there: pa.Schema, coming: pa.Schema) -> None:
    """Raise StreamError if a column that a table has would come in with another type."""
    for field in coming:
        place = there.get_field_index(field.name)
        if place >= 0 and not _same(there.field(place).type, field.type):
            raise StreamError(
                f"{uri}: column {field.name!r} is stored as {there.field(place).type}, but the contract has it as"
                f" {field.type} now; archive into another folder, or give the field another name"
            )


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if column.type == kind:
        return column
    if pa.types.is_time32(column.type):
        column = column.cast(pa.int32())
    return column.cast(kind)


def _same(first: pa.DataType, second: pa.DataType) -> bool:
    """Whether two types hold the same values; names of inner fields and what may be null in them do not matter."""
    if pa.types.is_list(first) and pa.types.is_list(second):
        return _same(first.value_type, second.value_type)
    if pa.types.is_map(first) and pa.types.is_map(second):
        return _same(first.key_type, second.key_type) and _same(first.item_type, second.item_type)
    if pa.types.is_struct(first) and pa.types.is_struct(second):
        theirs = {field.name: field.type for field in second}
        return all(_same(field.type, theirs[field.name]) for field in first if field.name in theirs)
    return bool(first == second)
