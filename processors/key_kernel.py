"""The compiled loops of a key index; `key_index` owns the arrays.

A hash table with open addressing and linear probing (Knuth, The Art of Computer Programming 3, 6.4: algorithms L, R).
A cell holds 31 bits of the key's hash above the 32 bits of its slot, so a probe reads one array, and the table grows
without looking at a key. The keys' bytes lie in one arena and are compared on every hit: that two keys have the same
hash costs time and nothing else.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

# Where a key's bytes are. Of a slot that is free: the next free one, and FREE_SLOT.
START, LENGTH = range(2)
FREE_SLOT = -1

# The registers: the first free slot, how many slots and arena bytes were ever used, the keys alive, the bytes of keys
# that are gone.
FREE, USED, ARENA, LIVE, GARBAGE = range(5)
REGISTERS = 5
NONE = -1

# FNV-1a's offset and prime, and the second multiplier of MurmurHash3's finaliser; as signed numbers.
_OFFSET = -3750763034362895579
_PRIME = 1099511628211
_SPREAD = -49064778989728563
_TAG = 0x7FFFFFFF
_SLOT = 0xFFFFFFFF

_Ints = NDArray[np.int64]
_Bytes = NDArray[np.uint8]


@njit(cache=True, nogil=True)
def find(
    offsets: NDArray[np.int32],
    data: _Bytes,
    valid: NDArray[np.bool_],
    cells: _Ints,
    places: _Ints,
    arena: _Bytes,
    registers: _Ints,
    found: _Ints,
) -> None:
    """Each key's slot into `found`, new ones for new keys, NONE where a key is not valid.

    There must be room for as many new keys as there are rows: in `places`, in `arena`, and empty cells besides.
    """
    for i in range(len(found)):
        found[i] = _tag(data, offsets[i], offsets[i + 1]) if valid[i] else NONE
    mask = len(cells) - 1
    for i in range(len(found)):
        tag = found[i]
        if tag == NONE:
            continue
        start, length = offsets[i], offsets[i + 1] - offsets[i]
        cell = tag & mask
        slot = NONE
        while cells[cell] != NONE:
            if cells[cell] >> 32 == tag:
                candidate = cells[cell] & _SLOT
                if places[candidate, LENGTH] == length and _same(data, start, arena, places[candidate, START], length):
                    slot = candidate
                    break
            cell = (cell + 1) & mask
        if slot == NONE:
            slot = _take_slot(places, registers)
            places[slot, START] = registers[ARENA]
            places[slot, LENGTH] = length
            for b in range(length):
                arena[registers[ARENA] + b] = data[start + b]
            registers[ARENA] += length
            registers[LIVE] += 1
            cells[cell] = (tag << 32) | slot
        found[i] = slot


@njit(cache=True, nogil=True)
def _tag(data: _Bytes, start: int, stop: int) -> int:
    mixed: np.int64 = np.int64(_OFFSET)
    for b in range(start, stop):
        mixed = (mixed ^ np.int64(data[b])) * _PRIME
    mixed ^= (mixed >> 33) & _TAG
    mixed *= _SPREAD
    return int((mixed >> 32) & _TAG)


@njit(cache=True, nogil=True, inline="always")
def _same(data: _Bytes, start: int, arena: _Bytes, place: int, length: int) -> bool:
    for b in range(length):  # noqa: SIM110 - compiled as it stands
        if data[start + b] != arena[place + b]:
            return False
    return True


@njit(cache=True, nogil=True)
def _take_slot(places: _Ints, registers: _Ints) -> int:
    slot: int = registers[FREE]
    if slot != NONE:
        registers[FREE] = places[slot, START]
        return slot
    slot = registers[USED]
    registers[USED] += 1
    return slot


@njit(cache=True, nogil=True)
def free(slots: _Ints, cells: _Ints, places: _Ints, arena: _Bytes, registers: _Ints) -> None:
    """Forget the keys in these slots; each must hold one."""
    mask = len(cells) - 1
    for slot in slots:
        start, length = places[slot, START], places[slot, LENGTH]
        hole = _tag(arena, start, start + length) & mask
        while cells[hole] & _SLOT != slot or cells[hole] == NONE:
            hole = (hole + 1) & mask
        # Whoever stands behind the hole and may stand in it moves up, so that no probe ends before its key.
        cell = (hole + 1) & mask
        while cells[cell] != NONE:
            home = (cells[cell] >> 32) & mask
            if (cell - home) & mask >= (cell - hole) & mask:
                cells[hole] = cells[cell]
                hole = cell
            cell = (cell + 1) & mask
        cells[hole] = NONE
        registers[LIVE] -= 1
        registers[GARBAGE] += length
        places[slot, START] = registers[FREE]
        places[slot, LENGTH] = FREE_SLOT
        registers[FREE] = slot


@njit(cache=True, nogil=True)
def rehash(cells: _Ints, larger: _Ints) -> None:
    """Put every cell's content into a table of another size, which comes empty."""
    mask = len(larger) - 1
    for content in cells:
        if content != NONE:
            cell = (content >> 32) & mask
            while larger[cell] != NONE:
                cell = (cell + 1) & mask
            larger[cell] = content


@njit(cache=True, nogil=True)
def compact(places: _Ints, arena: _Bytes, fresh: _Bytes, registers: _Ints) -> None:
    """Copy the bytes of the keys alive into a fresh arena."""
    end = 0
    for slot in range(registers[USED]):
        length = places[slot, LENGTH]
        if length != FREE_SLOT:
            for b in range(length):
                fresh[end + b] = arena[places[slot, START] + b]
            places[slot, START] = end
            end += length
    registers[ARENA] = end
    registers[GARBAGE] = 0


@njit(cache=True, nogil=True)
def gather(slots: _Ints, places: _Ints, arena: _Bytes, offsets: NDArray[np.int32], out: _Bytes) -> None:
    """The slots' keys one after the other, between the offsets given."""
    for i in range(len(slots)):
        start = places[slots[i], START]
        for b in range(offsets[i + 1] - offsets[i]):
            out[offsets[i] + b] = arena[start + b]
