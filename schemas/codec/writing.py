"""Python values to Avro datums: one small function per type.

The values are those of `to_pylist` on a column whose dates and times are integers. Every value has one spelling:
shortest varints, shortest decimals, one block per array and map.
"""

from collections.abc import Callable
from decimal import Decimal
from struct import Struct
from typing import Any

from tidemill.schemas.avsc import Node
from tidemill.schemas.columns import decimal_of, logical_type, split_null
from tidemill.schemas.errors import nearest

Write = Callable[[Any], bytes]

_FLOAT = Struct("<f").pack
_DOUBLE = Struct("<d").pack


class Unwritable(Exception):
    """A value that its type does not hold."""


def writer_of(node: Node) -> Write:
    """How a value of a type that fits into columns is written."""
    if node.type == "union":
        inner, _ = split_null(node)
        null = next(number for number, branch in enumerate(node.schemas) if branch.type == "null")
        return _optional(writer_of(inner), null)
    if logical_type(node) == "decimal":
        return _decimal(decimal_of(node).scale, node.size if node.type == "fixed" else None)
    match node.type:
        case "enum":
            return _enum(list(node.symbols))
        case "array":
            return _array(_present(node.items))
        case "map":
            return _map(_present(node.values))
        case "record" | "error":
            return _record([(field.name, _present(field.type)) for field in node.fields])
    return _PRIMITIVES[node.type]


def write_null(_value: None) -> bytes:
    """Nothing."""
    return b""


def write_boolean(value: bool) -> bytes:
    """One byte, 0 or 1."""
    return b"\x01" if value else b"\x00"


def write_long(value: int) -> bytes:
    """A zigzag varint, as short as it can be."""
    rest = (value << 1) ^ (value >> 63)
    if rest < 0x80:
        return _SHORT[rest]
    spelled = bytearray()
    while rest >= 0x80:
        spelled.append(rest & 0x7F | 0x80)
        rest >>= 7
    spelled.append(rest)
    return bytes(spelled)


def write_bytes(value: bytes) -> bytes:
    """A length and the bytes."""
    return write_long(len(value)) + value


def write_string(value: str) -> bytes:
    """A length and the text in UTF-8."""
    return write_bytes(value.encode())


_SHORT = [bytes([number]) for number in range(128)]
_PRIMITIVES: dict[str, Write] = {
    "null": write_null,
    "boolean": write_boolean,
    "int": write_long,
    "long": write_long,
    "float": _FLOAT,
    "double": _DOUBLE,
    "bytes": write_bytes,
    "string": write_string,
    "fixed": bytes,
}


def _present(node: Node) -> Write:
    """As `writer_of`, refusing None where the type is not nullable."""
    write = writer_of(node)
    if split_null(node)[1]:
        return write

    def write_present(value: Any) -> bytes:
        if value is None:
            raise Unwritable("a null within it, where none is allowed")
        return write(value)

    return write_present


def _optional(write: Write, null: int) -> Write:
    nothing, something = _SHORT[2 * null], _SHORT[2 - 2 * null]

    def write_optional(value: Any) -> bytes:
        return nothing if value is None else something + write(value)

    return write_optional


def _enum(symbols: list[str]) -> Write:
    numbers = {symbol: write_long(number) for number, symbol in enumerate(symbols)}

    def write(symbol: str) -> bytes:
        if symbol not in numbers:
            raise Unwritable(f"{symbol!r} is no symbol{nearest(symbol, symbols)}")
        return numbers[symbol]

    return write


def _decimal(scale: int, size: int | None) -> Write:
    def write(value: Decimal) -> bytes:
        unscaled = int(value.scaleb(scale))
        if size is not None:
            return unscaled.to_bytes(size, "big", signed=True)
        shortest = (unscaled if unscaled >= 0 else ~unscaled).bit_length() // 8 + 1
        return write_bytes(unscaled.to_bytes(shortest, "big", signed=True))

    return write


def _array(write_item: Write) -> Write:
    def write(items: list[Any]) -> bytes:
        block = write_long(len(items)) + b"".join(map(write_item, items)) if items else b""
        return block + b"\x00"

    return write


def _map(write_value: Write) -> Write:
    def write(pairs: list[tuple[str, Any]]) -> bytes:
        content = b"".join([write_string(key) + write_value(value) for key, value in pairs])
        return write_long(len(pairs)) + content + b"\x00" if pairs else b"\x00"

    return write


def _record(fields: list[tuple[str, Write]]) -> Write:
    def write(values: dict[str, Any]) -> bytes:
        return b"".join([write_field(values[name]) for name, write_field in fields])

    return write
