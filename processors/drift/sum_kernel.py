"""Adding doubles without rounding: a sum in chunks of 32 bits, as Neal's small superaccumulator has it (2015).

A double is an integer of 53 bits times a power of two; its bits are added to the chunks that they fall into, so the
order of adding cannot matter. A chunk takes 2**31 additions before it could overflow.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

CHUNKS = 67
CHUNK_BITS = 32
_LOW = (1 << 32) - 1
_FRACTION = (1 << 52) - 1

Chunks = NDArray[np.int64]


@njit(cache=True, nogil=True)
def add(chunks: Chunks, bits: int) -> None:
    """Add one finite double, given as its bits; `chunks` count in units of 2**-1074."""
    exponent = (bits >> 52) & 0x7FF
    mantissa = bits & _FRACTION
    if exponent:
        mantissa |= _FRACTION + 1
        exponent -= 1
    chunk, shift = exponent >> 5, exponent & 31
    low = (mantissa << shift) & _LOW
    middle = (mantissa >> (32 - shift)) & _LOW
    # By 64 bits no integer is shifted.
    high = (mantissa >> 32) >> (32 - shift)
    if bits < 0:
        low, middle, high = -low, -middle, -high
    chunks[chunk] += low
    chunks[chunk + 1] += middle
    chunks[chunk + 2] += high


@njit(cache=True, nogil=True)
def add_all(chunks: Chunks, bits: NDArray[np.int64]) -> None:
    """Add finite doubles, given as their bits."""
    for i in range(len(bits)):
        add(chunks, bits[i])
