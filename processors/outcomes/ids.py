"""The event ids that anything waits for: one slot each, shared by predictions and labels."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.growth import grown
from tidemill.processors.key_index import KeyIndex


class Ids:
    """Slots by event id; an id is forgotten when nobody holds it any more."""

    def __init__(self) -> None:
        self._index = KeyIndex()
        self._holds: NDArray[np.int32] = np.zeros(0, np.int32)

    def find(self, ids: pa.Array) -> NDArray[np.int64]:
        """The slot of each id; a new one is free again after `sweep`, unless it is held by then."""
        slots = self._index.find(ids)
        if self._index.used > len(self._holds):
            self._holds = grown(self._holds, self._index.used, 0)
        return slots

    def hold(self, slots: NDArray[np.int64]) -> None:
        """One more holder for each; a slot may be named several times."""
        np.add.at(self._holds, slots, 1)

    def release(self, slots: NDArray[np.int64]) -> None:
        """One holder less for each."""
        np.subtract.at(self._holds, slots, 1)
        self.sweep(slots)

    def is_held(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which are held by anybody."""
        return np.asarray(self._holds[slots] > 0)

    def sweep(self, slots: NDArray[np.int64]) -> None:
        """Forget those of these ids that nobody holds; each must be known."""
        distinct = np.unique(slots)
        unheld = distinct[self._holds[distinct] == 0]
        if len(unheld):
            self._index.free(unheld)

    def take(self, slots: NDArray[np.int64]) -> pa.Array:
        """The ids themselves."""
        return self._index.take(slots)

    @property
    def used(self) -> int:
        """One more than the greatest slot ever used."""
        return self._index.used

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has reserved."""
        return self._index.nbytes + self._holds.nbytes

    def __len__(self) -> int:
        return len(self._index)
