"""Messages of a flat schema to columns, by a compiled loop."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.schemas.codec import decode_kernel
from tidemill.schemas.codec.program import Column, Kind, Program
from tidemill.schemas.columns import decimal_of, logical_type

_DAY = {"time-millis": 86_400_000, "time-micros": 86_400_000_000}
_DIGITS_OF_A_WORD = 18


class Decoding:
    """One batch of messages, all of the schema that the program reads, each with its datum from byte `start` on.

    `accepted` are the messages that the loop accepts; `table` is made of these. The others are to be read value by
    value.
    """

    def __init__(self, program: Program, arrow: pa.Schema, payloads: Sequence[bytes], start: int) -> None:
        self._program, self._arrow = program, arrow
        count = len(payloads)
        lengths = np.fromiter(map(len, payloads), dtype=np.int64, count=count)
        ends = np.cumsum(lengths)
        shape = (max(1, program.slots), count)
        self._data = np.frombuffer(b"".join(payloads) or b"\0", dtype=np.uint8)
        self._words, self._sizes = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)
        self._valid, ok = np.zeros(shape, dtype=np.uint8), np.empty(count, dtype=np.uint8)
        decode_kernel.decode(
            self._data, ends - lengths + start, ends, program.table, self._words, self._sizes, self._valid, ok
        )
        self._decimals: dict[int, NDArray[np.int64]] = {}
        for column in program.columns:
            if column.slot is not None:
                self._judge(column, column.slot, ok)
        self.accepted: NDArray[np.int64] = np.flatnonzero(ok)
        if len(self.accepted) != count:
            kept = self.accepted
            self._words, self._sizes = self._words[:, kept], self._sizes[:, kept]
            self._valid = self._valid[:, kept]
            self._decimals = {slot: words[kept] for slot, words in self._decimals.items()}

    def table(self) -> pa.Table:
        """The accepted messages, in the reader's columns."""
        arrays = [self._array(column) for column in self._program.columns]
        return pa.Table.from_arrays(arrays, schema=self._arrow)

    def _judge(self, column: Column, slot: int, ok: NDArray[np.uint8]) -> None:
        """Refuse what is a value of its type in the bytes, but not one of its logical type."""
        logical = logical_type(column.reader)
        valid, words = self._valid[slot], self._words[slot]
        if logical in _DAY:
            ok &= ((valid == 0) | ((words >= 0) & (words < _DAY[logical]))).astype(np.uint8)
        elif logical == "decimal":
            made = np.zeros((len(ok), 2), dtype=np.int64)
            decode_kernel.decimals(self._data, words, self._sizes[slot], valid * ok, made, ok)
            ok &= _within(made, decimal_of(column.reader).precision).astype(np.uint8)
            self._decimals[slot] = made

    def _array(self, column: Column) -> pa.Array:
        kind = column.field.type
        count = len(self.accepted)
        if column.slot is None:
            return pa.repeat(pa.scalar(column.default, kind), count)
        if pa.types.is_null(kind) or column.kind == Kind.NULL:
            return pa.nulls(count, kind)
        slot = column.slot
        valid = self._validity(slot)
        if column.kind == Kind.ENUM:
            return self._symbols(column, valid)
        if pa.types.is_decimal(kind):
            return pa.Array.from_buffers(kind, count, [valid, pa.py_buffer(np.ascontiguousarray(self._decimals[slot]))])
        if column.kind in (Kind.BYTES, Kind.STRING):
            return self._pieces(kind, slot, valid)
        if column.kind == Kind.FIXED:
            sizes = np.full(count, kind.byte_width, dtype=np.int64)
            starts = np.where(self._valid[slot] == 1, self._words[slot], 0)
            out = np.empty(count * kind.byte_width, dtype=np.uint8)
            decode_kernel.gather(self._data, starts, sizes, np.empty(count + 1, dtype=np.int32), out)
            return pa.Array.from_buffers(kind, count, [valid, pa.py_buffer(out)])
        return pa.Array.from_buffers(kind, count, [valid, self._numbers(column)])

    def _validity(self, slot: int) -> pa.Buffer | None:
        valid = self._valid[slot]
        return None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))

    def _numbers(self, column: Column) -> pa.Buffer:
        """Numbers in the width of the reader's type."""
        words, kind = self._words[column.slot], column.field.type
        if pa.types.is_boolean(kind):
            return pa.py_buffer(np.packbits(words.astype(np.uint8), bitorder="little"))
        if not pa.types.is_floating(kind):
            return pa.py_buffer(np.ascontiguousarray(words.astype(np.int32 if kind.bit_width == 32 else np.int64)))
        if column.kind == Kind.DOUBLE:
            return pa.py_buffer(np.ascontiguousarray(words))
        bits = column.kind == Kind.FLOAT
        numbers = words.astype(np.uint32).view(np.float32) if bits else words.astype(np.float64)
        return pa.py_buffer(numbers.astype(np.float32 if kind.bit_width == 32 else np.float64))

    def _pieces(self, kind: pa.DataType, slot: int, valid: pa.Buffer | None) -> pa.Array:
        starts, sizes = np.ascontiguousarray(self._words[slot]), np.ascontiguousarray(self._sizes[slot])
        offsets = np.empty(len(starts) + 1, dtype=np.int32)
        out = np.empty(int(sizes.sum()), dtype=np.uint8)
        decode_kernel.gather(self._data, starts, sizes, offsets, out)
        return pa.Array.from_buffers(kind, len(starts), [valid, pa.py_buffer(offsets), pa.py_buffer(out)])

    def _symbols(self, column: Column, valid: pa.Buffer | None) -> pa.Array:
        codes = self._words[column.slot].astype(np.int32)
        indices = pa.Array.from_buffers(pa.int32(), len(codes), [valid, pa.py_buffer(codes)])
        return pa.array(column.symbols, pa.string()).take(indices)


def _within(words: NDArray[np.int64], precision: int) -> NDArray[np.bool_]:
    """Which 128-bit numbers have at most so many digits."""
    low, high = words[:, 0], words[:, 1]
    if precision <= _DIGITS_OF_A_WORD:
        small: NDArray[np.bool_] = (high == low >> 63) & (np.abs(low) < 10**precision)
        return small
    limit = 10**precision
    unsigned = low.view(np.uint64).tolist()
    return np.array([abs((h << 64) + u) < limit for h, u in zip(high.tolist(), unsigned, strict=True)], dtype=bool)
