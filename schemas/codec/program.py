"""A writer's flat record, and what a reader wants of it, as a table of numbers that a kernel can follow.

One row per field of the writer: what is written, where its value goes, whether it may be null. Nested types, unions of
several types and what else needs more than that have no program; they are read value by value instead.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.schemas.avsc import Node
from tidemill.schemas.codec.resolution import stored_default
from tidemill.schemas.columns import logical_type
from tidemill.schemas.matching import field_of, mismatch


class Kind(IntEnum):
    """How a value stands in the bytes."""

    NULL = 0
    BOOLEAN = 1
    INT = 2
    LONG = 3
    FLOAT = 4
    DOUBLE = 5
    BYTES = 6
    STRING = 7
    FIXED = 8
    ENUM = 9


KIND, SLOT, NULL_BRANCH, NULL_ALLOWED, SIZE = range(5)
"""The columns of a program. SLOT is -1 for a field that is passed over; NULL_BRANCH is -1 where null cannot be written;
SIZE is a fixed's bytes or an enum's symbols."""

_KINDS = {
    "null": Kind.NULL,
    "boolean": Kind.BOOLEAN,
    "int": Kind.INT,
    "long": Kind.LONG,
    "float": Kind.FLOAT,
    "double": Kind.DOUBLE,
    "bytes": Kind.BYTES,
    "string": Kind.STRING,
    "fixed": Kind.FIXED,
    "enum": Kind.ENUM,
}


@dataclass(frozen=True)
class Column:
    """A column of the reader: from `slot` of the kernel's output, or `default` for every row if `slot` is None."""

    field: pa.Field
    slot: int | None
    kind: Kind
    reader: Node | None
    symbols: tuple[str, ...]
    """For an enum: the reader's symbol for each number that the writer may write."""
    default: Any
    size: int | None = None
    """For a fixed: its bytes."""


@dataclass(frozen=True)
class Program:
    """What the kernel follows, and how its output becomes columns."""

    table: NDArray[np.int64]
    slots: int
    columns: tuple[Column, ...]


def compile_program(writer: Node, reader: Node, arrow: pa.Schema) -> Program | None:
    """The program for a resolvable pair of records; None where one of the fields is not flat."""
    origins = [field_of(writer, field) for field in reader.fields]
    wanted = {origin.name: i for i, origin in enumerate(origins) if origin is not None}
    rows, slots, places = [], 0, {}
    for field in writer.fields:
        inner, null = _flat(field.type)
        if inner is None:
            return None
        slot, allowed = -1, 1
        if field.name in wanted:
            place = wanted[field.name]
            target, _ = _flat(reader.fields[place].type)
            if target is None or not _direct(inner, target):
                return None
            kind = Kind.STRING if target.type == "string" and inner.type == "bytes" else _KINDS[inner.type]
            kind = Kind.BYTES if target.type == "bytes" and inner.type == "string" else kind
            slot, slots = slots, slots + 1
            allowed = int(arrow.field(place).nullable)
            places[place] = (slot, kind, inner, target)
        else:
            # What the reader does not want is not judged for its text.
            kind = Kind.BYTES if inner.type == "string" else _KINDS[inner.type]
        size = inner.size if inner.type == "fixed" else len(inner.symbols) if inner.type == "enum" else 0
        rows.append((kind, slot, null, allowed, size))
    columns = [_column(arrow.field(i), field, places.get(i)) for i, field in enumerate(reader.fields)]
    return Program(np.array(rows, dtype=np.int64).reshape(-1, 5), slots, tuple(columns))


def _column(field: pa.Field, reader: Any, place: tuple[int, Kind, Node, Node] | None) -> Column:
    if place is None:
        return Column(field, None, Kind.NULL, None, (), stored_default(reader.type, reader.default))
    slot, kind, writer, target = place
    symbols = tuple(filter(None, _known_symbols(writer, target)))
    return Column(field, slot, kind, target, symbols, None, target.size if target.type == "fixed" else None)


def _known_symbols(writer: Node, reader: Node) -> list[str | None]:
    """The reader's symbol for each of the writer's; None where it has neither that nor a default."""
    if writer.type != "enum":
        return []
    default = reader.props.get("default")
    return [symbol if symbol in reader.symbols else default for symbol in writer.symbols]


def _flat(node: Node) -> tuple[Node | None, int]:
    """A primitive type and the number of its null branch (-1 without one); None for anything that is not flat."""
    if node.type != "union":
        return (node if node.type in _KINDS else None), -1
    kinds: Sequence[str] = [branch.type for branch in node.schemas]
    if len(kinds) != 2 or "null" not in kinds:
        return None, -1
    null = kinds.index("null")
    inner = node.schemas[1 - null]
    return (inner if inner.type in _KINDS and inner.type != "null" else None), null


def _direct(writer: Node, reader: Node) -> bool:
    """Whether the kernel reads this as that: not where only null fits both, or a symbol has no place."""
    if mismatch(writer, reader):
        return False
    if writer.type == "enum":
        return None not in _known_symbols(writer, reader)
    return logical_type(reader) != "decimal" or writer.type in ("bytes", "fixed")
