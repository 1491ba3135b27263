"""Arrays that grow as state comes in."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)
_LARGE = 1 << 20


def grown(array: NDArray[_Scalar], needed: int, fill: int) -> NDArray[_Scalar]:
    """A copy with room for `needed` and some more; what is new has the value `fill`.

    Twice what there was, or half as much again where that is a lot: each element is copied a few times at most, and a
    large array wastes no more than a third. Zeros that nobody has written to yet take no memory.
    """
    room = len(array) * 2 if len(array) < _LARGE else len(array) + len(array) // 2
    made = np.zeros((max(needed, room), *array.shape[1:]), array.dtype)
    made[: len(array)] = array
    if fill:
        made[len(array) :] = fill
    return made
