"""The loop that writes messages, compiled.

Places are unsigned: numba then need not ask of each whether it counts from the end.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

_Words = NDArray[np.int64]
_Bytes = NDArray[np.uint8]
_ONE, _FOUR, _SEVEN, _EIGHT = np.uint64(1), np.uint64(4), np.uint64(7), np.uint64(8)
_BYTE, _LOW, _MORE = np.uint64(0xFF), np.uint64(0x7F), np.uint64(0x80)

# The columns of `sources`.
VALID, VALUES, DATA, FIRST, LAYOUT = range(5)
# What VALUES points to: at most 32 or 64 bits each, or the 32-bit offsets of pieces in DATA. A negative layout says how
# many bytes of DATA each value has.
NARROW, LONGS, PIECES = range(3)


def _load(kind: Any) -> tuple[Any, Any]:
    """What numba is to make of a load of this type from an address, which need not be a multiple of its size."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        pointer = context.get_value_type(types.CPointer(kind))
        return builder.load(builder.inttoptr(arguments[0], pointer), align=1)

    return kind(types.int64), generate


@intrinsic
def load_byte(_context: Any, _address: Any) -> Any:
    """The byte at an address."""
    return _load(types.uint8)


@intrinsic
def load_int(_context: Any, _address: Any) -> Any:
    """The 32 bits at an address."""
    return _load(types.int32)


@intrinsic
def load_long(_context: Any, _address: Any) -> Any:
    """The 64 bits at an address."""
    return _load(types.int64)


@njit(cache=True, nogil=True, boundscheck=False)
def encode(program: _Words, sources: _Words, rows: int, prefix: _Bytes, out: _Bytes, offsets: _Words) -> None:
    """Write the messages one after the other, each behind the prefix.

    The columns are read where Arrow has them: a row of `sources` has the addresses of a column's validity (0: all are
    there), of its values or offsets, and of its bytes, then its first row, and its LAYOUT. Whoever calls keeps them
    alive.

    `out` has room for the messages; `offsets`, for one more than there are, becomes where each starts and the last one
    ends.
    """
    at = np.uint64(0)
    head = np.uint64(prefix.shape[0])
    for i in range(rows):
        offsets[i] = at
        for k in range(head):
            out[at + k] = prefix[k]
        at += head
        for f in range(program.shape[0]):
            kind = program[f, 0]
            null = program[f, 2]
            row = sources[f, FIRST] + i
            if null >= 0:
                valid = sources[f, VALID]
                there = valid == 0 or (load_byte(valid + (row >> 3)) >> (row & 7)) & 1 == 1
                out[at] = 2 - 2 * null if there else 2 * null
                at += _ONE
                if not there:
                    continue
            values = sources[f, VALUES]
            layout = sources[f, LAYOUT]
            if kind == 6 or kind == 7 or kind == 8:
                if layout == PIECES:
                    start = np.int64(load_int(values + 4 * row))
                    size = np.int64(load_int(values + 4 * row + 4)) - start
                else:
                    size = -layout
                    start = row * size
                if kind != 8:
                    at = _varint(size, out, at)
                data = sources[f, DATA] + start
                for k in range(size):
                    out[at + np.uint64(k)] = load_byte(data + k)
                at += np.uint64(size)
            elif kind == 2 or kind == 3 or kind == 9:
                word = load_long(values + 8 * row) if layout == LONGS else np.int64(load_int(values + 4 * row))
                at = _varint(word, out, at)
            elif kind == 5:
                bits = np.uint64(load_long(values + 8 * row))
                for k in range(_EIGHT):
                    out[at + k] = (bits >> (_EIGHT * k)) & _BYTE
                at += _EIGHT
            elif kind == 4:
                bits = np.uint64(load_int(values + 4 * row))
                for k in range(_FOUR):
                    out[at + k] = (bits >> (_EIGHT * k)) & _BYTE
                at += _FOUR
            elif kind == 1:
                out[at] = (load_byte(values + (row >> 3)) >> (row & 7)) & 1
                at += _ONE
    offsets[rows] = at


@njit(cache=True, nogil=True, inline="always")
def _varint(value: np.int64, out: _Bytes, at: np.uint64) -> np.uint64:
    rest = np.uint64((value << np.int64(1)) ^ (value >> np.int64(63)))
    while rest >= _MORE:
        out[at] = (rest & _LOW) | _MORE
        rest >>= _SEVEN
        at += _ONE
    out[at] = rest
    return at + _ONE
