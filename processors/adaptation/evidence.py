"""Whether one of two that answered the same rows is better by more than noise."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.float64]


class Evidence:
    """Paired differences of losses, in batches.

    Neighbouring rows depend on each other, so what counts is how much the means of batches vary (batch means; Law and
    Kelton). `add` takes a batch of rows; `score` is the mean difference over its standard error: above 0 the second
    is better. 0 until there are `least` batches.

    >>> evidence = Evidence(least=4)
    >>> for lead in (0.1, 0.2, 0.1, 0.2):
    ...     evidence.add(np.full(50, 0.5), np.full(50, 0.5 - lead))
    >>> round(evidence.score, 2), evidence.rows
    (5.2, 200)
    """

    def __init__(self, *, least: int) -> None:
        self._least, self._means, self.rows = least, list[float](), 0

    def add(self, first: _Floats, second: _Floats) -> None:
        """Take the losses of both on the same rows, one batch."""
        self._means.append(float(np.mean(first - second)))
        self.rows += len(first)

    @property
    def mean(self) -> float:
        """By how much the second's loss is less, a row."""
        return float(np.mean(self._means)) if self._means else 0.0

    @property
    def score(self) -> float:
        """The mean difference in standard errors."""
        if len(self._means) < self._least:
            return 0.0
        error = float(np.std(self._means, ddof=1)) / math.sqrt(len(self._means))
        # Two that answer alike differ by nothing, and vary by nothing.
        return self.mean / max(error, 1e-9)

    def saved(self) -> dict[str, Any]:
        """What it has heard, as JSON can hold it."""
        return {"means": list(self._means), "rows": self.rows}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where another one was saved."""
        self._means, self.rows = [float(mean) for mean in saved["means"]], int(saved["rows"])
