"""The loop over messages and fields, compiled: bounds are those of each message, and its verdict is its own.

A message that this loop refuses is not lost: it is read again value by value, for the reason in words. So the loop has
to be right only where it accepts; it accepts exactly what `reading` does.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

_Words = NDArray[np.int64]
_Bytes = NDArray[np.uint8]


@njit(cache=True, nogil=True, boundscheck=False)
def decode(
    data: _Bytes, starts: _Words, ends: _Words, program: _Words, words: _Words, sizes: _Words, valid: _Bytes, ok: _Bytes
) -> None:
    """Read `data[starts[i]:ends[i]]` for every i, and say in `ok[i]` whether it is a datum of the program.

    For slot s, `words[s, i]` becomes the number, the bits of the float, or where the bytes start, whose number is
    `sizes[s, i]`; `valid[s, i]` is 0 for null.
    """
    fields = program.shape[0]
    for i in range(starts.shape[0]):
        at = starts[i]
        end = ends[i]
        good = True
        for f in range(fields):
            kind = program[f, 0]
            slot = program[f, 1]
            null = program[f, 2]
            if null >= 0:
                branch, at = _varint(data, at, end)
                if at < 0 or branch < 0 or branch > 1:
                    good = False
                    break
                if branch == null:
                    if slot >= 0:
                        if program[f, 3] == 0:
                            good = False
                            break
                        valid[slot, i] = 0
                        words[slot, i] = 0
                        sizes[slot, i] = 0
                    continue
            value = np.int64(0)
            size = np.int64(0)
            if kind == 2 or kind == 3 or kind == 9:
                value, at = _varint(data, at, end)
                if at < 0:
                    good = False
                    break
                if kind == 2 and (value < -2147483648 or value > 2147483647):
                    good = False
                    break
                if kind == 9 and (value < 0 or value >= program[f, 4]):
                    good = False
                    break
            elif kind == 6 or kind == 7:
                size, at = _varint(data, at, end)
                if at < 0 or size < 0 or size > end - at:
                    good = False
                    break
                value = at
                at += size
                if kind == 7 and not _is_utf8(data, value, at):
                    good = False
                    break
            elif kind == 5:
                if end - at < 8:
                    good = False
                    break
                bits = np.uint64(0)
                for k in range(8):
                    bits |= np.uint64(data[at + k]) << np.uint64(8 * k)
                value = np.int64(bits)
                at += 8
            elif kind == 4:
                if end - at < 4:
                    good = False
                    break
                for k in range(4):
                    value |= np.int64(data[at + k]) << np.int64(8 * k)
                at += 4
            elif kind == 1:
                if at >= end or data[at] > 1:
                    good = False
                    break
                value = np.int64(data[at])
                at += 1
            elif kind == 8:
                size = program[f, 4]
                if end - at < size:
                    good = False
                    break
                value = at
                at += size
            if slot >= 0:
                words[slot, i] = value
                sizes[slot, i] = size
                valid[slot, i] = kind != 0
        ok[i] = good and at == end


@njit(cache=True, nogil=True, inline="always")
def _varint(data: _Bytes, at: int, end: int) -> tuple[np.int64 | int, int]:
    """A zigzag varint within the message and within 64 bits, and where it ends; the end is -1 if it is none."""
    if at >= end:
        return 0, -1
    byte = np.uint64(data[at])
    at += 1
    value = byte & np.uint64(0x7F)
    shift = np.uint64(7)
    while byte >= np.uint64(0x80):
        if at >= end or shift > np.uint64(63):
            return 0, -1
        byte = np.uint64(data[at])
        at += 1
        if shift == np.uint64(63) and (byte & np.uint64(0x7F)) > np.uint64(1):
            return 0, -1
        value |= (byte & np.uint64(0x7F)) << shift
        shift += np.uint64(7)
    return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), at


@njit(cache=True, nogil=True)
def _is_utf8(data: _Bytes, at: int, end: int) -> bool:
    """Whether the bytes are UTF-8 as of RFC 3629: no overlong spelling, no surrogate, nothing above U+10FFFF."""
    high = np.uint8(0)
    for k in range(at, end):
        high |= data[k]
    if high < 0x80:
        return True
    while at < end:
        lead = data[at]
        if lead < 0x80:
            at += 1
            continue
        low, top = 0x80, 0xBF
        if 0xC2 <= lead <= 0xDF:
            more = 1
        elif 0xE0 <= lead <= 0xEF:
            more = 2
            low = 0xA0 if lead == 0xE0 else 0x80
            top = 0x9F if lead == 0xED else 0xBF
        elif 0xF0 <= lead <= 0xF4:
            more = 3
            low = 0x90 if lead == 0xF0 else 0x80
            top = 0x8F if lead == 0xF4 else 0xBF
        else:
            return False
        if end - at <= more or data[at + 1] < low or data[at + 1] > top:
            return False
        for k in range(2, more + 1):
            if data[at + k] < 0x80 or data[at + k] > 0xBF:
                return False
        at += more + 1
    return True


@njit(cache=True, nogil=True)
def gather(data: _Bytes, starts: _Words, sizes: _Words, offsets: NDArray[np.int32], out: _Bytes) -> None:
    """Copy the pieces one after the other; `offsets` has room for one more than there are pieces."""
    at = 0
    for i in range(starts.shape[0]):
        offsets[i] = at
        start = starts[i]
        for k in range(sizes[i]):
            out[at + k] = data[start + k]
        at += sizes[i]
    offsets[starts.shape[0]] = at


@njit(cache=True, nogil=True)
def decimals(data: _Bytes, starts: _Words, sizes: _Words, valid: _Bytes, out: _Words, ok: _Bytes) -> None:
    """Big-endian two's complement of 1 to 16 bytes to 128 bits, low word first; `ok` is cleared for other lengths."""
    for i in range(starts.shape[0]):
        if not valid[i]:
            continue
        size = sizes[i]
        if size < 1 or size > 16:
            ok[i] = 0
            continue
        start = starts[i]
        filling = np.uint64(0xFF) if data[start] & 0x80 else np.uint64(0)
        low = np.uint64(0)
        high = np.uint64(0)
        for k in range(16):
            byte = np.uint64(data[start + size - 1 - k]) if k < size else filling
            if k < 8:
                low |= byte << np.uint64(8 * k)
            else:
                high |= byte << np.uint64(8 * (k - 8))
        out[i, 0] = np.int64(low)
        out[i, 1] = np.int64(high)
