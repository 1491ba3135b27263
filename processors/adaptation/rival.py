"""A portfolio that answers in the shadow of the champion, and whether it is better."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation.evidence import Evidence
from tidemill.processors.adaptation.portfolio import Portfolio

_Floats = NDArray[np.float64]
_Outcome = tuple[_Floats, _Floats]


class Rival:
    """A challenger, or a former champion on probation.

    `take` gives it labels, as the champion gets them; `settle` compares both on what came since the last time, which
    is a batch of evidence. It is heard until the row `until`.
    """

    def __init__(self, portfolio: Portfolio, *, until: float, reason: str, least: int, margin: float) -> None:
        self.portfolio, self.until, self.reason = portfolio, until, reason
        self._losses, self._errors, self._margin = Evidence(least=least), Evidence(least=least), margin
        self._open: list[_Outcome] = []

    def take(self, answers: Mapping[str, _Floats], labels: NDArray[np.int64]) -> None:
        """Learn labels, and keep how it did."""
        self._open.append(self.portfolio.learn(answers, labels)[1])

    def settle(self, champion: _Outcome) -> None:
        """Compare with the champion's losses and errors on the same rows."""
        if self._open:
            losses, errors = together(self._open)
            self._losses.add(champion[0], losses)
            self._errors.add(champion[1], errors)
            self._open.clear()

    @property
    def better(self) -> bool:
        """Surely fewer losses than the champion's, and no more errors."""
        return self._losses.score > self._margin and self._errors.mean >= 0

    @property
    def figures(self) -> dict[str, float]:
        """Rows compared; by how much its loss and its errors were less, a row; the former in standard errors."""
        return {
            "rows": float(self._losses.rows),
            "loss": self._losses.mean,
            "errors": self._errors.mean,
            "score": self._losses.score,
        }

    def saved(self) -> dict[str, Any]:
        """How it stands, as JSON can hold it."""
        return {
            "portfolio": self.portfolio.saved(),
            "until": self.until,
            "reason": self.reason,
            "losses": self._losses.saved(),
            "errors": self._errors.saved(),
            "open": listed(self._open),
        }

    def restore(self, saved: Mapping[str, Any]) -> None:
        """What was heard of one that was saved."""
        self._losses.restore(saved["losses"])
        self._errors.restore(saved["errors"])
        self._open = unlisted(saved["open"])


def listed(outcomes: list[_Outcome]) -> list[list[float]]:
    """Losses and errors of several blocks as JSON can hold them."""
    return [part.tolist() for part in together(outcomes)] if outcomes else []


def unlisted(saved: list[list[float]]) -> list[_Outcome]:
    """What `listed` was given, as one block."""
    return [(np.array(saved[0], np.float64), np.array(saved[1], np.float64))] if saved else []


def together(outcomes: list[_Outcome]) -> _Outcome:
    """Losses and errors of several blocks as one."""
    losses, errors = zip(*outcomes, strict=True)
    return np.concatenate(losses), np.concatenate(errors)
