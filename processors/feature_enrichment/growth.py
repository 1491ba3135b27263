"""Arrays that grow as state comes in."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)


def grown(array: NDArray[_Scalar], needed: int, fill: int) -> NDArray[_Scalar]:
    """A copy with room for `needed`, at least twice what there was; what is new has the value `fill`."""
    made = np.full((max(needed, 2 * len(array)), *array.shape[1:]), fill, array.dtype)
    made[: len(array)] = array
    return made
