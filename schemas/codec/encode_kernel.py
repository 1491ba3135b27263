"""The loops that write messages, compiled: first how long each will be, then the bytes."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

_Words = NDArray[np.int64]
_Bytes = NDArray[np.uint8]


@njit(cache=True, nogil=True, boundscheck=False)
def measure(program: _Words, words: _Words, sizes: _Words, valid: _Bytes, prefix: int, offsets: _Words) -> None:
    """Where each message starts in the output, and behind the last one the output's length."""
    at = 0
    for i in range(words.shape[1]):
        offsets[i] = at
        at += prefix
        for f in range(program.shape[0]):
            kind = program[f, 0]
            if program[f, 2] >= 0:
                at += 1
                if not valid[f, i]:
                    continue
            if kind == 2 or kind == 3 or kind == 9:
                at += _width(words[f, i])
            elif kind == 6 or kind == 7:
                at += _width(sizes[f, i]) + sizes[f, i]
            elif kind == 5:
                at += 8
            elif kind == 4:
                at += 4
            elif kind == 1:
                at += 1
            elif kind == 8:
                at += program[f, 4]
    offsets[words.shape[1]] = at


@njit(cache=True, nogil=True, boundscheck=False)
def encode(
    program: _Words, words: _Words, sizes: _Words, valid: _Bytes, data: _Bytes, prefix: _Bytes, out: _Bytes
) -> None:
    """Write the messages one after the other, each behind the prefix; pieces of bytes are taken from `data`."""
    at = 0
    for i in range(words.shape[1]):
        for k in range(prefix.shape[0]):
            out[at + k] = prefix[k]
        at += prefix.shape[0]
        for f in range(program.shape[0]):
            kind = program[f, 0]
            null = program[f, 2]
            if null >= 0:
                if not valid[f, i]:
                    out[at] = 2 * null
                    at += 1
                    continue
                out[at] = 2 - 2 * null
                at += 1
            word = words[f, i]
            if kind == 2 or kind == 3 or kind == 9:
                at = _varint(word, out, at)
            elif kind == 6 or kind == 7 or kind == 8:
                size = sizes[f, i]
                if kind != 8:
                    at = _varint(size, out, at)
                for k in range(size):
                    out[at + k] = data[word + k]
                at += size
            elif kind == 5 or kind == 4:
                for k in range(8 if kind == 5 else 4):
                    out[at + k] = (word >> np.int64(8 * k)) & 0xFF
                at += 8 if kind == 5 else 4
            elif kind == 1:
                out[at] = word
                at += 1


@njit(cache=True, nogil=True, inline="always")
def _varint(value: int, out: _Bytes, at: int) -> int:
    rest = np.uint64((value << np.int64(1)) ^ (value >> np.int64(63)))
    while rest >= np.uint64(0x80):
        out[at] = (rest & np.uint64(0x7F)) | np.uint64(0x80)
        rest >>= np.uint64(7)
        at += 1
    out[at] = rest
    return at + 1


@njit(cache=True, nogil=True, inline="always")
def _width(value: int) -> int:
    """How many bytes the varint of a number has."""
    rest = np.uint64((value << np.int64(1)) ^ (value >> np.int64(63)))
    width = 1
    while rest >= np.uint64(0x80):
        rest >>= np.uint64(7)
        width += 1
    return width
