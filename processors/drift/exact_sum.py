"""Sums of doubles that do not depend on the order of adding, bit for bit.

The sum is an integer in units of 2**-1074, the smallest double. Written down it is an expansion: doubles whose exact
sum it is, each the nearest double to what the ones before it leave (Shewchuk 1997). The first is the sum, correctly
rounded.
"""

import sys
from collections.abc import Iterable

from tidemill.processors.drift.sum_kernel import CHUNK_BITS, Chunks

_UNIT = 1 << 1074


def of_chunks(chunks: Chunks) -> int:
    """The sum that a kernel has collected."""
    return sum(int(chunks[place]) << (CHUNK_BITS * int(place)) for place in chunks.nonzero()[0])


def of_doubles(doubles: Iterable[float]) -> int:
    """The exact sum of a few finite doubles; back from `expansion`.

    >>> expansion(of_doubles([0.1] * 10)), expansion(of_doubles([1e300, 1.0, -1e300]))
    ([1.0, 5.551115123125783e-17], [1.0])
    """
    total = 0
    for double in doubles:
        numerator, denominator = double.as_integer_ratio()
        total += numerator * (_UNIT // denominator)
    return total


def expansion(total: int) -> list[float]:
    """The doubles that add up to it, largest first; none for 0."""
    parts = []
    while total:
        part = _nearest(total)
        parts.append(part)
        total -= of_doubles([part])
    return parts


def mean(total: int, count: int) -> float:
    """The sum over the count, correctly rounded; NaN for none."""
    return total / (count * _UNIT) if count else float("nan")


def _nearest(total: int) -> float:
    try:
        return total / _UNIT
    except OverflowError:
        return sys.float_info.max if total > 0 else -sys.float_info.max
