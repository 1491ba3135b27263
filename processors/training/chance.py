"""Chance that does not depend on the order or number of rows, nor on any library's version."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's output function (Steele, Lea and Flood 2014): each 64-bit number to another one, as if by chance."""
    with np.errstate(over="ignore"):
        z = values + _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _FIRST
        z = (z ^ (z >> np.uint64(27))) * _SECOND
        made: NDArray[np.uint64] = z ^ (z >> np.uint64(31))
    return made


def lots(rows: pa.Table, seed: int) -> NDArray[np.uint64]:
    """A number for each row by its event's place in the log and the seed: who takes the least ones draws a sample.

    >>> rows = pa.table({"source_partition": [0, 0, 1], "source_offset": [5, 6, 5]})
    >>> numbers = lots(rows, seed=1)
    >>> len(set(numbers.tolist())), numbers[1] == lots(rows.slice(1), seed=1)[0], numbers[0] == lots(rows, seed=2)[0]
    (3, np.True_, np.False_)
    """
    partition = rows["source_partition"].to_numpy().astype(np.int64).view(np.uint64)
    offset = rows["source_offset"].to_numpy().astype(np.int64).view(np.uint64)
    start = mixed(np.array([seed & (2**64 - 1)], np.uint64))
    return mixed(mixed(start ^ partition) ^ offset)
