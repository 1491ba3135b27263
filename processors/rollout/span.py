"""How far event time has moved since a stage began."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FIRST = 100


@dataclass
class Span:
    """The latest event time against that of the stage's first events, in microseconds.

    The beginning is the latest of the first hundred, so that one late event among them does not make a stage old.

    >>> span = Span()
    >>> for start in (0, 60, 120):
    ...     span.take(np.arange(start, start + 60))
    >>> span.length
    80
    """

    seen: int = 0
    began: int = 0
    reached: int = 0

    def take(self, times: NDArray[np.int64]) -> None:
        """The stage's next events, in the order of the log."""
        if not len(times):
            return
        first = times[: max(_FIRST - self.seen, 0)]
        if len(first):
            self.began = int(first.max()) if not self.seen else max(self.began, int(first.max()))
        latest = int(times.max())
        self.reached = latest if not self.seen else max(self.reached, latest)
        self.seen += len(times)

    @property
    def length(self) -> int:
        """How far it has moved."""
        return max(self.reached - self.began, 0)
