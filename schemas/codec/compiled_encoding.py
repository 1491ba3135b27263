"""Columns of a flat schema to messages, by a compiled loop."""

from io import BytesIO
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.schemas.codec import encode_kernel
from tidemill.schemas.codec.program import Column, Kind, Program

_WIDEST = {
    Kind.NULL: 0,
    Kind.BOOLEAN: 1,
    Kind.INT: 5,
    Kind.LONG: 10,
    Kind.FLOAT: 4,
    Kind.DOUBLE: 8,
    Kind.BYTES: 5,
    Kind.STRING: 5,
    Kind.FIXED: 0,
    Kind.ENUM: 5,
}
"""The most bytes that a value takes, besides the pieces that are copied: an array of them has 32-bit offsets."""


class Encoding:
    """One table, whose columns have the contract's types and no null where none may be, as the kernel takes it.

    `fits` is False if a value has no spelling, such as a symbol that the enum does not have: the caller then writes the
    table value by value, for the error.
    """

    def __init__(self, program: Program, table: pa.Table) -> None:
        self._program, self._rows = program, table.num_rows
        shape = (len(program.columns), table.num_rows)
        # What the kernel does not look at, such as the size of a number, is left as it is.
        self._words, self._sizes = np.empty(shape, dtype=np.int64), np.empty(shape, dtype=np.int64)
        self._valid = np.empty(shape, dtype=np.uint8)
        self._pieces: list[NDArray[np.uint8]] = []
        self._end = 0
        self.fits = True
        for slot, column in enumerate(program.columns):
            self._take(slot, column, _contiguous(table[column.field.name]))

    def messages(self, prefix: bytes) -> list[bytes]:
        """The messages, in the order of the rows."""
        offsets = np.empty(self._rows + 1, dtype=np.int64)
        widest = len(prefix) + sum(_WIDEST[column.kind] + 1 for column in self._program.columns)
        out = np.empty(self._rows * widest + self._end, dtype=np.uint8)
        data = np.concatenate(self._pieces) if self._pieces else np.zeros(1, dtype=np.uint8)
        start = np.frombuffer(prefix, dtype=np.uint8)
        encode_kernel.encode(self._program.table, self._words, self._sizes, self._valid, data, start, out, offsets)
        # Reading a stream on costs half of what slices of the bytes do.
        read = BytesIO(out[: offsets[-1]].tobytes()).read
        return list(map(read, np.diff(offsets).tolist()))

    def _take(self, slot: int, column: Column, array: pa.Array) -> None:
        self._valid[slot] = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else 1
        if column.kind == Kind.NULL:
            self._valid[slot] = 0
        elif column.kind == Kind.ENUM:
            codes = pc.index_in(array, pa.array(column.symbols, pa.string()))
            unknown = codes.is_null().to_numpy(zero_copy_only=False) & (self._valid[slot] == 1)
            self.fits = self.fits and not unknown.any()
            self._words[slot] = codes.fill_null(0).to_numpy()
        elif pa.types.is_decimal(array.type):
            self._take_decimals(slot, array, column.size)
        elif column.kind in (Kind.BYTES, Kind.STRING):
            starts, data = _variable(array)
            self._words[slot], self._sizes[slot] = starts[:-1] + self._end, np.diff(starts)
            self._add(data)
        elif column.kind == Kind.FIXED:
            width = array.type.byte_width
            start = array.offset * width
            data = np.frombuffer(array.buffers()[1] or b"", dtype=np.uint8)[start : start + width * self._rows]
            self._words[slot] = np.arange(self._rows, dtype=np.int64) * width + self._end
            self._sizes[slot] = width
            self._add(data)
        else:
            self._words[slot] = _numbers(array)

    def _take_decimals(self, slot: int, array: pa.Array, width: int | None) -> None:
        """Unscaled, big-endian, two's complement: as few bytes as hold the number, or as many as the fixed has."""
        wide = 16 if width is None else max(16, width)
        digits, spare = _big_endian(array, wide)
        if width is not None:
            drop = np.full(self._rows, wide - width)
            self.fits = self.fits and not ((spare < drop) & (self._valid[slot] == 1)).any()
        else:
            drop = spare
        self._words[slot], self._sizes[slot] = np.arange(self._rows) * wide + drop + self._end, wide - drop
        self._add(digits.ravel())

    def _add(self, data: NDArray[np.uint8]) -> None:
        self._pieces.append(data)
        self._end += len(data)


def _contiguous(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _variable(array: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Where the values of a string or binary array start in its bytes, and those bytes."""
    _, offsets, data = array.buffers()
    if offsets is None or not len(array):
        return np.zeros(len(array) + 1, dtype=np.int64), np.zeros(0, dtype=np.uint8)
    starts = np.frombuffer(offsets, dtype=np.int32)[array.offset : array.offset + len(array) + 1].astype(np.int64)
    content = np.frombuffer(data, dtype=np.uint8) if data is not None else np.zeros(0, dtype=np.uint8)
    return starts - starts[0], content[starts[0] : starts[-1]]


def _big_endian(array: pa.Array, width: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """128-bit numbers as rows of at least 16 big-endian bytes, and how many bytes in front only repeat the sign."""
    here = slice(array.offset, array.offset + len(array))
    small = np.frombuffer(array.buffers()[1] or b"", dtype=np.uint8).reshape(-1, 16)[here, ::-1]
    sign = np.where(small[:, 0] >= 0x80, 0xFF, 0).astype(np.uint8)
    digits = np.repeat(sign[:, None], width, axis=1)
    digits[:, width - 16 :] = small
    repeated = np.logical_and.accumulate(digits[:, :-1] == sign[:, None], axis=1)
    # A byte can go if the one behind it begins with the sign's bit.
    repeated &= (digits[:, 1:] ^ sign[:, None]) < 0x80
    return digits, repeated.sum(axis=1)


def _numbers(array: pa.Array) -> NDArray[Any]:
    """A fixed-width array as words: integers as they are, floats as their bits."""
    kind = array.type
    if pa.types.is_boolean(kind):
        truths: NDArray[Any] = array.fill_null(False).to_numpy(zero_copy_only=False).astype(np.int64)
        return truths
    width = kind.bit_width
    bits: type[np.generic]
    if pa.types.is_floating(kind):
        bits = np.uint32 if width == 32 else np.int64
    else:
        bits = np.int32 if width == 32 else np.int64
    words: NDArray[Any] = np.frombuffer(array.buffers()[1] or b"", dtype=bits)
    return words[array.offset : array.offset + len(array)]
