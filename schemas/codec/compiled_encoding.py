"""Columns of a flat schema to messages, by a compiled loop."""

from collections.abc import Sequence
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
    """One table's columns, in the contract's order and types and with no null where none may be, for the kernel.

    `fits` is False if a value has no spelling, such as a symbol that the enum does not have: the caller then writes the
    table value by value, for the error.
    """

    def __init__(self, program: Program, columns: Sequence[pa.ChunkedArray], rows: int) -> None:
        self._program, self._rows = program, rows
        self._sources = np.zeros((len(program.columns), 5), dtype=np.int64)
        self._bytes = 0
        self._kept: list[Any] = []
        self.fits = True
        for slot, (column, given) in enumerate(zip(program.columns, columns, strict=True)):
            array = given.chunk(0) if given.num_chunks == 1 else given.combine_chunks()
            if column.kind == Kind.ENUM:
                array = self._codes(column, array)
            elif pa.types.is_decimal(array.type):
                array = self._digits(array, column.size)
            self._take(slot, column.kind, array)

    def messages(self, prefix: bytes) -> list[bytes]:
        """The messages, in the order of the rows."""
        offsets = np.empty(self._rows + 1, dtype=np.int64)
        widest = len(prefix) + sum(_WIDEST[column.kind] + 1 for column in self._program.columns)
        out = np.empty(self._rows * widest + self._bytes, dtype=np.uint8)
        start = np.frombuffer(prefix, dtype=np.uint8)
        encode_kernel.encode(self._program.table, self._sources, self._rows, start, out, offsets)
        # Reading a stream on costs half of what slices of the bytes do.
        read = BytesIO(out[: offsets[-1]].tobytes()).read
        return list(map(read, np.diff(offsets).tolist()))

    def _take(self, slot: int, kind: Kind, array: pa.Array) -> None:
        """Note where the kernel finds the column."""
        if kind == Kind.NULL:
            return
        buffers = array.buffers()
        self._kept.append(buffers)
        valid, values, *data = [0 if buffer is None else buffer.address for buffer in buffers]
        if kind in (Kind.BYTES, Kind.STRING):
            layout, content = encode_kernel.PIECES, data[0]
            self._bytes += array.nbytes
        elif kind == Kind.FIXED:
            layout, content = -array.type.byte_width, values
            self._bytes += array.nbytes
        else:
            layout, content = encode_kernel.LONGS if array.type.bit_width == 64 else encode_kernel.NARROW, 0
        self._sources[slot] = valid if array.null_count else 0, values, content, array.offset, layout

    def _codes(self, column: Column, array: pa.Array) -> pa.Array:
        """The numbers of an enum's symbols."""
        codes = pc.index_in(array, pa.array(column.symbols, pa.string()))
        self.fits = self.fits and codes.null_count == array.null_count
        return codes

    def _digits(self, array: pa.Array, width: int | None) -> pa.Array:
        """Decimals as pieces: unscaled, big-endian, two's complement; as few bytes as hold the number, or `width`."""
        wide = 16 if width is None else max(16, width)
        digits, spare = _big_endian(array, wide)
        valid = array.is_valid().to_numpy(zero_copy_only=False)
        if width is not None:
            self.fits = self.fits and not ((spare < wide - width) & valid).any()
            return pa.Array.from_buffers(
                pa.binary(width),
                len(array),
                [_packed(valid), pa.py_buffer(np.ascontiguousarray(digits[:, wide - width :]))],
            )
        offsets = np.concatenate(([0], np.cumsum(wide - spare))).astype(np.int32)
        content = digits[np.arange(wide) >= spare[:, None]]
        return pa.Array.from_buffers(
            pa.binary(), len(array), [_packed(valid), pa.py_buffer(offsets), pa.py_buffer(content)]
        )


def _packed(valid: NDArray[np.bool_]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(valid, bitorder="little"))


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
