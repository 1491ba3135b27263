"""Numbers to bucket keys, in one pass: the compiled loops of `number_sketch`.

A bucket's key is the value's logarithm in steps of the relative error. The logarithm is the exponent of the double
plus a cubic polynomial of its fraction (the "cubically interpolated mapping" of Datadog's sketches-java): it takes 1
% more buckets than the true one, a third of the time, and additions and multiplications only, which every machine
does alike.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tidemill.processors.drift.sum_kernel import add

RELATIVE_ERROR = 0.01
A, B, C = 6 / 35, -3 / 5, 10 / 7
STEPS = 34.998833302220746
"""Buckets per power of two, 0.7 / ln((1 + error) / (1 - error)): none is wider than that factor. Spelt out, since not
every machine takes the same logarithm.
"""
OFFSET = 40_000
"""More than any key's magnitude: a positive value's code is its key + OFFSET, a negative one's the same negated."""
LARGEST = 1e300
"""Values of this magnitude and more count as infinite, so that a sum of them is finite."""
SMALLEST = 2.2250738585072014e-308
"""Values of smaller magnitude (they are subnormal) count as zero."""
COUNT, MISSING, INFINITE, ZEROS, NEGATIVE_LOW, NEGATIVE_HIGH, POSITIVE_LOW, POSITIVE_HIGH = range(8)

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def key_of(bits: int) -> int:
    """The bucket of a normal double, given as its bits; the sign does not matter."""
    fraction = (bits & ((1 << 52) - 1)) * 2.0**-52
    exponent = ((bits >> 52) & 0x7FF) - 1023
    return int(np.floor(STEPS * (exponent + fraction * (C + fraction * (B + fraction * A)))))


@njit(cache=True, nogil=True)
def scan(values: Floats, bits: Ints, codes: NDArray[np.int32], registers: Ints, extremes: Floats, chunks: Ints) -> None:
    """Give each value its code (0: none), and collect what else a sketch knows; `bits` are those of `values`."""
    negative_low, negative_high, positive_low, positive_high = OFFSET, -OFFSET, OFFSET, -OFFSET
    smallest, largest = np.inf, -np.inf
    count, missing, infinite, zeros = 0, 0, 0, 0
    for i in range(len(values)):
        value = values[i]
        codes[i] = 0
        if np.isnan(value):
            missing += 1
            continue
        if not -LARGEST < value < LARGEST:
            infinite += 1
            continue
        count += 1
        add(chunks, bits[i])
        smallest, largest = min(smallest, value), max(largest, value)
        if -SMALLEST < value < SMALLEST:
            zeros += 1
            continue
        key = key_of(bits[i])
        if value > 0:
            codes[i] = key + OFFSET
            positive_low, positive_high = min(positive_low, key), max(positive_high, key)
        else:
            codes[i] = -(key + OFFSET)
            negative_low, negative_high = min(negative_low, key), max(negative_high, key)
    registers[COUNT], registers[MISSING], registers[INFINITE], registers[ZEROS] = count, missing, infinite, zeros
    registers[NEGATIVE_LOW], registers[NEGATIVE_HIGH] = negative_low, negative_high
    registers[POSITIVE_LOW], registers[POSITIVE_HIGH] = positive_low, positive_high
    extremes[0], extremes[1] = smallest, largest


@njit(cache=True, nogil=True)
def tally(codes: NDArray[np.int32], registers: Ints, negative: Ints, positive: Ints) -> None:
    """Count the codes, in arrays that begin at the lowest key of their side."""
    for i in range(len(codes)):
        code = codes[i]
        if code > 0:
            positive[code - OFFSET - registers[POSITIVE_LOW]] += 1
        elif code < 0:
            negative[-code - OFFSET - registers[NEGATIVE_LOW]] += 1
