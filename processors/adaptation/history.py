"""Labelled rows in the order in which their labels came."""

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]


class History:
    """The newest `limit` labelled rows; positions count from the first row that was ever taken.

    >>> history = History(features=1, limit=3)
    >>> history.add(np.arange(5.0)[:, None], np.arange(5))
    >>> history.end, history.span(0, 5)[1].tolist()
    (5, [2, 3, 4])
    """

    def __init__(self, features: int, *, limit: int) -> None:
        self._rows, self._labels = np.zeros((64, features)), np.zeros(64, np.int64)
        self._limit, self._from, self.end = limit, 0, 0

    def add(self, rows: _Floats, labels: _Integers) -> None:
        """Take rows (n × features) and their labels."""
        used = self.end - self._from
        if used + len(rows) > len(self._labels):
            # Twice the limit before anything moves, so that each row is copied but a few times.
            kept = min(used, self._limit)
            room = max(2 * (kept + len(rows)), 64)
            for name in ("_rows", "_labels"):
                old = getattr(self, name)
                new = np.zeros((room, *old.shape[1:]), old.dtype)
                new[:kept] = old[used - kept : used]
                setattr(self, name, new)
            self._from, used = self.end - kept, kept
        self._rows[used : used + len(rows)] = rows
        self._labels[used : used + len(rows)] = labels
        self.end += len(rows)

    def span(self, start: int, stop: int) -> tuple[_Floats, _Integers]:
        """Rows and labels from a position to another, without those that are no longer kept."""
        oldest = max(self._from, self.end - self._limit)
        inside = slice(max(start, oldest) - self._from, max(stop, oldest) - self._from)
        return self._rows[inside], self._labels[inside]
