"""The loop that writes messages, compiled.

Places are unsigned: numba then need not ask of each whether it counts from the end.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

_Words = NDArray[np.int64]
_Bytes = NDArray[np.uint8]
_ONE, _FOUR, _SEVEN, _EIGHT = np.uint64(1), np.uint64(4), np.uint64(7), np.uint64(8)
_BYTE, _LOW, _MORE = np.uint64(0xFF), np.uint64(0x7F), np.uint64(0x80)


@njit(cache=True, nogil=True, boundscheck=False)
def encode(
    program: _Words,
    words: _Words,
    sizes: _Words,
    valid: _Bytes,
    data: _Bytes,
    prefix: _Bytes,
    out: _Bytes,
    offsets: _Words,
) -> None:
    """Write the messages one after the other, each behind the prefix; pieces of bytes are taken from `data`.

    `out` has room for them; `offsets`, for one more than there are messages, becomes where each starts and the last
    one ends.
    """
    at = np.uint64(0)
    head = np.uint64(prefix.shape[0])
    for i in range(words.shape[1]):
        offsets[i] = at
        for k in range(head):
            out[at + k] = prefix[k]
        at += head
        for f in range(program.shape[0]):
            kind = program[f, 0]
            null = program[f, 2]
            if null >= 0:
                there = valid[f, i]
                out[at] = 2 - 2 * null if there else 2 * null
                at += _ONE
                if not there:
                    continue
            word = words[f, i]
            if kind == 2 or kind == 3 or kind == 9:
                at = _varint(word, out, at)
            elif kind == 6 or kind == 7 or kind == 8:
                if kind != 8:
                    at = _varint(sizes[f, i], out, at)
                start = np.uint64(word)
                size = np.uint64(sizes[f, i])
                for k in range(size):
                    out[at + k] = data[start + k]
                at += size
            elif kind == 5:
                bits = np.uint64(word)
                for k in range(_EIGHT):
                    out[at + k] = (bits >> (_EIGHT * k)) & _BYTE
                at += _EIGHT
            elif kind == 4:
                bits = np.uint64(word)
                for k in range(_FOUR):
                    out[at + k] = (bits >> (_EIGHT * k)) & _BYTE
                at += _FOUR
            elif kind == 1:
                out[at] = word
                at += _ONE
    offsets[words.shape[1]] = at


@njit(cache=True, nogil=True, inline="always")
def _varint(value: np.int64, out: _Bytes, at: np.uint64) -> np.uint64:
    rest = np.uint64((value << np.int64(1)) ^ (value >> np.int64(63)))
    while rest >= _MORE:
        out[at] = (rest & _LOW) | _MORE
        rest >>= _SEVEN
        at += _ONE
    out[at] = rest
    return at + _ONE
