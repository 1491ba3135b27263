"""Alarms: the errors of what answers have become more frequent."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.drift.shiryaev_roberts import ShiryaevRoberts


class Watch:
    """The project's Shiryaev-Roberts detector over a champion's errors, in rows of the stream from `first` on."""

    def __init__(self, *, first: int, rows_per_alarm: float) -> None:
        self._detector, self._first, self._rows = ShiryaevRoberts(rows_per_alarm=rows_per_alarm), first, 0

    def take(self, errors: NDArray[np.float64]) -> Iterator[tuple[int, int]]:
        """Take errors (0 or 1); for each alarm after how many rows it came, and where the change began."""
        taken = 0
        while taken < len(errors):
            found = self._detector.update_blocks(errors[taken:])
            if found is None:
                break
            taken += found + 1
            yield self._first + self._rows + taken, self._first + int(self._detector.change_point or 0)
        self._rows += len(errors)

    def saved(self) -> dict[str, Any]:
        """Where it stands, as JSON can hold it."""
        return {"rows": self._rows, "detector": self._detector.saved()}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where one of the same settings was saved."""
        self._rows = int(saved["rows"])
        self._detector.restore(saved["detector"])
