"""Which slot a key has: what every keyed store begins with."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors import key_kernel as kernel
from tidemill.processors.growth import grown

_FEWEST_CELLS = 64
_LITTLE_GARBAGE = 1 << 16


class KeyIndex:
    """Slots by key: small numbers, from zero on, to be used as places in a store's arrays.

    Of Python's objects it needs none: about 20 to 50 bytes a key, besides the key's own. Slots of keys that were
    freed are given out again. Not for several threads at once.

    >>> index = KeyIndex()
    >>> index.find(pa.array(["a", "b", None, "a"])).tolist()
    [0, 1, -1, 0]
    >>> index.free(np.array([0]))
    >>> index.find(pa.array(["c", "b"])).tolist(), len(index)
    ([0, 1], 2)
    """

    def __init__(self) -> None:
        self._cells: NDArray[np.int64] = np.full(_FEWEST_CELLS, kernel.NONE, np.int64)
        self._places: NDArray[np.int64] = np.zeros((0, 2), np.int64)
        self._arena: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._registers: NDArray[np.int64] = np.zeros(kernel.REGISTERS, np.int64)
        self._registers[kernel.FREE] = kernel.NONE

    def find(self, keys: pa.Array) -> NDArray[np.int64]:
        """Each key's slot, a new one for a key that has none, -1 for null. `keys` are strings."""
        if not pa.types.is_string(keys.type):
            keys = keys.cast(pa.string())
        found = np.empty(len(keys), np.int64)
        if not len(keys):
            return found
        _, offset_buffer, data_buffer = keys.buffers()
        offsets = _read_only(np.frombuffer(offset_buffer, np.int32)[keys.offset : keys.offset + len(keys) + 1])
        empty = data_buffer is None or not data_buffer.size
        data = _read_only(np.zeros(0, np.uint8) if empty else np.frombuffer(data_buffer, np.uint8))
        valid = keys.is_valid().to_numpy(zero_copy_only=False) if keys.null_count else np.ones(len(keys), np.bool_)
        self._reserve(len(keys), int(offsets[-1]) - int(offsets[0]))
        kernel.find(offsets, data, _read_only(valid), self._cells, self._places, self._arena, self._registers, found)
        return found

    def free(self, slots: NDArray[np.int64]) -> None:
        """Forget the keys in these slots; each must hold one, and be given once."""
        kernel.free(slots, self._cells, self._places, self._arena, self._registers)

    def take(self, slots: NDArray[np.int64]) -> pa.Array:
        """The keys in these slots, as strings; each must hold one."""
        offsets = np.concatenate(([0], np.cumsum(self._places[slots, kernel.LENGTH]))).astype(np.int32)
        out = np.empty(int(offsets[-1]), np.uint8)
        kernel.gather(slots, self._places, self._arena, offsets, out)
        return pa.StringArray.from_buffers(len(slots), pa.py_buffer(offsets), pa.py_buffer(out))

    @property
    def used(self) -> int:
        """One more than the greatest slot that was ever given out."""
        return int(self._registers[kernel.USED])

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has reserved."""
        return self._cells.nbytes + self._places.nbytes + self._arena.nbytes

    def __len__(self) -> int:
        return int(self._registers[kernel.LIVE])

    def _reserve(self, keys: int, size: int) -> None:
        """Make room for so many new keys with so many bytes together."""
        registers = self._registers
        if registers[kernel.USED] + keys > len(self._places):
            self._places = grown(self._places, int(registers[kernel.USED]) + keys, 0)
        if registers[kernel.ARENA] + size > len(self._arena):
            if registers[kernel.GARBAGE] > max(_LITTLE_GARBAGE, registers[kernel.ARENA] // 3):
                fresh = np.zeros(len(self._arena), np.uint8)
                kernel.compact(self._places, self._arena, fresh, registers)
                self._arena = fresh
            if registers[kernel.ARENA] + size > len(self._arena):
                self._arena = grown(self._arena, int(registers[kernel.ARENA]) + size, 0)
        cells = len(self._cells)
        while 3 * (registers[kernel.LIVE] + keys) > 2 * cells:
            cells *= 2
        if cells > len(self._cells):
            larger = np.full(cells, kernel.NONE, np.int64)
            kernel.rehash(self._cells, larger)
            self._cells = larger


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    """The array as one that cannot be written to: the kernel is compiled once, for those."""
    array = array.view()
    array.flags.writeable = False
    return array
