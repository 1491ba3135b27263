"""Columns to messages: every column to the bytes of its values, then row by row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tidemill.schemas.codec.compiled_encoding import Encoding
from tidemill.schemas.codec.program import compile_program
from tidemill.schemas.codec.writing import Unwritable, Write, writer_of
from tidemill.schemas.contract import Contract, Field
from tidemill.schemas.errors import EncodeError, nearest


@dataclass(frozen=True)
class _Fit:
    """Where tables of a schema have the contract's columns, and which of these are to be cast."""

    schema: pa.Schema
    places: tuple[int, ...]
    casts: tuple[bool, ...]


class Encoder:
    """Writes tables as messages of one contract."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._fields = [(field, writer_of(field.node)) for field in contract.fields]
        self._program = compile_program(contract.node, contract.node, contract.arrow)
        self._last: _Fit | None = None
        self._loose = {field.name: _rebuilt(field.arrow, lambda leaf: leaf) for field in contract.fields}
        self._stored = {field.name: _rebuilt(field.arrow, _integer) for field in contract.fields}

    def encode(self, table: pa.Table, prefix: bytes) -> list[bytes]:
        """One message per row; raises EncodeError that names the row and the field."""
        columns = self._fitted(table)
        if self._program is not None:
            encoding = Encoding(self._program, columns, table.num_rows)
            if encoding.fits:
                return encoding.messages(prefix)
        parts = [
            self._column(column, field, write) for column, (field, write) in zip(columns, self._fields, strict=True)
        ]
        join = b"".join
        return [prefix + join(row) for row in zip(*parts, strict=True)] if parts else [prefix] * table.num_rows

    def _fitted(self, table: pa.Table) -> list[pa.ChunkedArray]:
        """The columns in the contract's order and types, with nulls only where it has them."""
        # Batch after batch is of one schema: what was found of it need not be compared name by name again.
        schema, fit = table.schema, self._last
        if fit is None or not schema.equals(fit.schema):
            fit = self._last = self._fit(schema)
        columns = []
        for (field, _), place, cast in zip(self._fields, fit.places, fit.casts, strict=True):
            column = self._cast(table.column(place), field) if cast else table.column(place)
            if not field.nullable and column.null_count:
                raise self._error(column.is_null().index(True).as_py(), field, "null")
            columns.append(column)
        return columns

    def _fit(self, schema: pa.Schema) -> "_Fit":
        names, found = [field.name for field, _ in self._fields], schema.names
        for name in found:
            if name not in names:
                raise EncodeError(f"{self._contract.name} has no field {name!r}{nearest(name, names)}")
        for name in names:
            if found.count(name) != 1:
                raise EncodeError(f"{self._contract.name}: expected one column {name!r}; got {found}")
        places = tuple(map(found.index, names))
        wanted = (field.arrow for field, _ in self._fields)
        casts = tuple(schema.field(place).type != kind for place, kind in zip(places, wanted, strict=True))
        return _Fit(schema, places, casts)

    def _column(self, column: pa.ChunkedArray, field: Field, write: Write) -> list[bytes]:
        values = column.cast(self._stored[field.name]).to_pylist()
        try:
            return [write(value) for value in values]
        except (Unwritable, OverflowError):
            raise self._first(values, field, write) from None

    def _first(self, values: list[Any], field: Field, write: Write) -> EncodeError:
        for row, value in enumerate(values):
            try:
                write(value)
            except (Unwritable, OverflowError) as fault:
                return self._error(row, field, f"{value!r}: {fault}")
        raise AssertionError("a value that could not be written can")

    def _cast(self, column: pa.ChunkedArray, field: Field) -> pa.ChunkedArray:
        if not _lossless(column.type, field.arrow):
            raise self._error(None, field, f"a column of {column.type}; cast it where that is meant")
        try:
            return column.cast(self._loose[field.name])
        except pa.ArrowInvalid:
            for row in range(len(column)):
                try:
                    column.slice(row, 1).cast(self._loose[field.name])
                except pa.ArrowInvalid as fault:
                    raise self._error(row, field, f"{column[row]}: {fault}") from None
            raise

    def _error(self, row: int | None, field: Field, got: str) -> EncodeError:
        if field.private and row is not None:
            got = "another, which is private"
        place = "" if row is None else f"row {row}, "
        null = " or null" if field.nullable else ""
        return EncodeError(
            f"{self._contract.name}, {place}field {field.name!r}: expected {field.arrow}{null}; got {got}"
        )


def _integer(leaf: pa.DataType) -> pa.DataType:
    """The integer that a date or time is stored as; another type as it is."""
    if pa.types.is_date32(leaf) or pa.types.is_time32(leaf):
        return pa.int32()
    return pa.int64() if pa.types.is_time64(leaf) or pa.types.is_timestamp(leaf) else leaf


def _rebuilt(arrow: pa.DataType, change: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    """The type with its leaves changed and its parts nullable: a cast must not be the one to meet a null in them."""
    if pa.types.is_list(arrow):
        return pa.list_(_rebuilt(arrow.value_type, change))
    if pa.types.is_map(arrow):
        return pa.map_(arrow.key_type, _rebuilt(arrow.item_type, change))
    if pa.types.is_struct(arrow):
        return pa.struct([pa.field(field.name, _rebuilt(field.type, change)) for field in arrow])
    return change(arrow)


def _lossless(given: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a checked cast from one type to the other keeps what a value means."""
    kinds = (_kind(given), _kind(wanted))
    if kinds == ("float", "float"):
        return bool(given.bit_width <= wanted.bit_width)
    if kinds == ("list", "list"):
        return _lossless(given.value_type, wanted.value_type)
    if kinds == ("struct", "struct"):
        names = [field.name for field in given] == [field.name for field in wanted]
        return names and all(_lossless(a.type, b.type) for a, b in zip(given, wanted, strict=True))
    return kinds[0] == kinds[1] or kinds == ("integer", "float") or kinds[0] == "null"


def _kind(arrow: pa.DataType) -> str:
    if pa.types.is_dictionary(arrow):
        arrow = arrow.value_type
    kinds = {
        "null": pa.types.is_null,
        "integer": pa.types.is_integer,
        "float": pa.types.is_floating,
        "string": lambda t: t in (pa.string(), pa.large_string(), pa.string_view()),
        "instant": lambda t: pa.types.is_timestamp(t) and t.tz is not None,
        "local": lambda t: pa.types.is_timestamp(t) and t.tz is None,
        "date": pa.types.is_date,
        "time": pa.types.is_time,
        "decimal": pa.types.is_decimal,
        "binary": lambda t: t in (pa.binary(), pa.large_binary(), pa.binary_view()) or pa.types.is_fixed_size_binary(t),
        "list": lambda t: pa.types.is_list(t) or pa.types.is_large_list(t),
        "struct": pa.types.is_struct,
    }
    return next((kind for kind, holds in kinds.items() if holds(arrow)), str(arrow))
