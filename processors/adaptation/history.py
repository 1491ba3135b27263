"""Labelled rows in the order in which their labels came."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.schemas.errors import ModelError

_Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
_Integers = NDArray[np.int64]


class History:
    """The newest `limit` labelled rows, in single precision; positions count from the first row that was ever taken.

    >>> history = History(features=1, limit=3)
    >>> history.add(np.arange(5.0)[:, None], np.arange(5))
    >>> history.end, history.span(0, 5)[1].tolist()
    (5, [2, 3, 4])
    """

    def __init__(self, features: int, *, limit: int) -> None:
        self._rows, self._labels = np.zeros((64, features), np.float32), np.zeros(64, np.int64)
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
        inside = slice(max(start, self.oldest) - self._from, max(stop, self.oldest) - self._from)
        return self._rows[inside].astype(np.float64), self._labels[inside]

    @property
    def oldest(self) -> int:
        """The position of the oldest row that is kept."""
        return max(self._from, self.end - self._limit)

    def saved(self) -> Arrays:
        """The rows that are kept."""
        kept = slice(self.oldest - self._from, self.end - self._from)
        return {"rows": self._rows[kept].copy(), "labels": self._labels[kept].astype(np.int32)}

    def restore(self, arrays: Arrays, end: int, classes: int) -> None:
        """Go on where one of the same settings was saved that stood at `end`; ModelError for what was not saved so."""
        rows, labels = arrays["rows"], arrays["labels"]
        expected = min(end, self._limit)
        sound = rows.shape == (expected, self._rows.shape[1]) and rows.dtype == np.float32
        if not (sound and labels.shape == (expected,) and ((labels >= 0) & (labels < classes)).all()):
            raise ModelError("stored rows are not those that this model saves: it was altered")
        self._rows, self._labels = rows, labels.astype(np.int64)
        self._from, self.end = end - expected, end
