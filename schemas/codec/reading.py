"""Avro datums to Python values: one small function per type, with the bounds of its message.

Every function takes the bytes of one message and a position, and returns the value and the position after it. It never
looks beyond its message, makes no room for a length before it has seen that many bytes, and accepts only what the
specification allows:

- a varint has at most ten bytes and 64 bits; an int has 32 bits. A longer spelling of a number within that is read.
- a boolean is 0 or 1; a symbol's or a branch's number is one that exists; a length is not negative.
- a block's size in bytes, where it is given, is its size. (A reader that skips by it and one that reads would differ.)

fastavro (1.13) is not fit for this: it takes symbol and branch number -1 for the last, an int of 64 bits, a boolean of
7 and a varint of any length, and does not look whether the bytes that it skips are there.
"""

from collections.abc import Callable
from struct import Struct
from typing import Any

from tidemill.schemas.avsc import Node
from tidemill.schemas.columns import least_width

Read = Callable[[bytes, int], tuple[Any, int]]

_FLOAT = Struct("<f").unpack_from
_DOUBLE = Struct("<d").unpack_from
_INT_LIMIT = 1 << 31


class Undecodable(Exception):
    """The bytes are not a datum of the schema; the message says what is wrong with them."""


class Unresolvable(Exception):
    """The datum is one that the reader's schema has no place for."""


def read_null(_data: bytes, at: int) -> tuple[None, int]:
    """Nothing."""
    return None, at


def read_boolean(data: bytes, at: int) -> tuple[bool, int]:
    """One byte, 0 or 1."""
    byte = data[at]
    if byte > 1:
        raise Undecodable(f"a boolean is 0 or 1; got {byte}")
    return byte == 1, at + 1


def read_long(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint of at most 64 bits."""
    byte = data[at]
    at += 1
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at
    value = byte & 0x7F
    shift = 7
    while byte >= 0x80:
        if shift > 63:
            raise Undecodable("a number of more than ten bytes")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
    if value >> 64:
        raise Undecodable("a number of more than 64 bits")
    return (value >> 1) ^ -(value & 1), at


def read_int(data: bytes, at: int) -> tuple[int, int]:
    """A zigzag varint of at most 32 bits."""
    byte = data[at]
    if byte < 0x80:
        return (byte >> 1) ^ -(byte & 1), at + 1
    value, at = read_long(data, at)
    if not -_INT_LIMIT <= value < _INT_LIMIT:
        raise Undecodable(f"an int has 32 bits; got {value}")
    return value, at


def read_float(data: bytes, at: int) -> tuple[float, int]:
    """Four bytes."""
    return _FLOAT(data, at)[0], at + 4


def read_double(data: bytes, at: int) -> tuple[float, int]:
    """Eight bytes."""
    return _DOUBLE(data, at)[0], at + 8


def read_bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """A length and that many bytes."""
    size, at = read_long(data, at)
    stop = at + size
    if size < 0:
        raise Undecodable(f"a length of {size}")
    if stop > len(data):
        raise Undecodable(f"a length of {size}, where {len(data) - at} bytes are left")
    return data[at:stop], stop


def read_string(data: bytes, at: int) -> tuple[str, int]:
    """A length and that many bytes of UTF-8; raises UnicodeDecodeError where they are not."""
    content, at = read_bytes(data, at)
    return content.decode(), at


def fixed(size: int) -> Read:
    """Exactly `size` bytes."""

    def read(data: bytes, at: int) -> tuple[bytes, int]:
        stop = at + size
        if stop > len(data):
            raise Undecodable(f"{size} bytes wanted, where {len(data) - at} are left")
        return data[at:stop], stop

    return read


def choice(options: list[Any], what: str) -> Read:
    """The option with the number that is written."""
    count = len(options)

    def read(data: bytes, at: int) -> tuple[Any, int]:
        number, at = read_long(data, at)
        if not 0 <= number < count:
            raise Undecodable(f"{what} number {number} of {count}")
        return options[number], at

    return read


def union(branches: list[Read]) -> Read:
    """A branch's number and a value of it."""
    branch = choice(branches, "branch")

    def read(data: bytes, at: int) -> tuple[Any, int]:
        read_branch, at = branch(data, at)
        value: tuple[Any, int] = read_branch(data, at)
        return value

    return read


def optional(branches: list[Read], null: int) -> Read:
    """A union of null and one type, with its one-byte spellings on a short way."""
    in_full = union(branches)
    read_value = branches[1 - null]
    is_null, is_value = 2 * null, 2 - 2 * null
    null_allowed = branches[null] is read_null

    def read(data: bytes, at: int) -> tuple[Any, int]:
        byte = data[at]
        if byte == is_value:
            return read_value(data, at + 1)
        if byte == is_null and null_allowed:
            return None, at + 1
        return in_full(data, at)

    return read


def sequence(fields: list[Read]) -> Read:
    """One value after the other, to nothing: `fields` may still grow until the first reading."""

    def read(data: bytes, at: int) -> tuple[None, int]:
        for read_field in fields:
            _, at = read_field(data, at)
        return None, at

    return read


def converted(read: Read, convert: Callable[[Any], Any]) -> Read:
    """A value, made into another."""

    def read_converted(data: bytes, at: int) -> tuple[Any, int]:
        value, at = read(data, at)
        return convert(value), at

    return read_converted


def array(read_item: Read, item: Node) -> Read:
    """Blocks of items, to a list."""
    width = least_width(item)

    def read(data: bytes, at: int) -> tuple[list[Any], int]:
        items: list[Any] = []
        while True:
            count, at, stop = _block(data, at, width)
            if not count:
                return items, at
            for _ in range(count):
                value, at = read_item(data, at)
                items.append(value)
            _check_size(at, stop)

    return read


def mapping(read_value: Read, value: Node) -> Read:
    """Blocks of keys and values, to a list of pairs; of pairs with the same key the last one holds."""
    width = 1 + least_width(value)

    def read(data: bytes, at: int) -> tuple[list[tuple[str, Any]], int]:
        pairs: dict[str, Any] = {}
        while True:
            count, at, stop = _block(data, at, width)
            if not count:
                return list(pairs.items()), at
            for _ in range(count):
                key, at = read_string(data, at)
                pairs[key], at = read_value(data, at)
            _check_size(at, stop)

    return read


def _block(data: bytes, at: int, width: int) -> tuple[int, int, int | None]:
    """A block's count, where its first item starts, and where it says that it ends."""
    count, at = read_long(data, at)
    stop = None
    if count < 0:
        count = -count
        size, at = read_long(data, at)
        stop = at + size
    if count * width > len(data) - at:
        raise Undecodable(f"a block of {count} items, where {len(data) - at} bytes are left")
    return count, at, stop


def _check_size(at: int, stop: int | None) -> None:
    if stop is not None and stop != at:
        raise Undecodable("a block whose size in bytes is not the one that it states")
