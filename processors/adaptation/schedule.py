"""Which batch models are fitted when, and on which rows."""

import math
from collections.abc import Sequence

from tidemill.processors.adaptation.estimators import Estimator
from tidemill.processors.adaptation.settings import Budget, Settings

FEWEST = 100
"""Rows since a change, at least, before anything is fitted on them alone."""


class Schedule:
    """All estimators at intervals, those of recent rows after an alarm as well, within the budget of fits.

    Fits after an alarm never take what the intervals still need.

    >>> from tidemill.processors.adaptation import DEFAULT, ESTIMATORS
    >>> schedule = Schedule(ESTIMATORS, first=100, budget=Budget(1_000), settings=DEFAULT)
    >>> [(estimator.name, start) for estimator, start in schedule.due(200, spent=2)]
    [('history', 0), ('recent', 100), ('linear', 100)]
    >>> schedule.alarm(250)
    >>> [(estimator.name, start) for estimator, start in schedule.due(400, spent=5)]
    [('history', 0), ('recent', 300), ('linear', 300)]
    """

    def __init__(self, estimators: Sequence[Estimator], *, first: int, budget: Budget, settings: Settings) -> None:
        self._estimators, self._budget = tuple(estimators), budget
        self._interval = settings.refit_every * budget.rows
        self._next = first + self._interval
        self._shares, self._change = settings.after_alarm, 0
        self._after_alarm: list[float] = []
        self.reason = ""
        """Why what was due last was so."""

    @property
    def interval(self) -> float:
        """Rows between two fits of everything."""
        return self._interval

    def alarm(self, change: int) -> None:
        """Rows before `change` are of the past."""
        self._change = change
        self._after_alarm = [change + max(share * self._budget.rows, FEWEST) for share in self._shares]

    def due(self, row: int, *, spent: int) -> list[tuple[Estimator, int]]:
        """What is to be fitted now, and on the rows from where on; nothing if the budget does not allow it."""
        if row >= self._next:
            self._next += self._interval
            recent = max(row - int(self._interval), self._change if self._after_alarm else 0)
            wanted, kept, self.reason = self._estimators, 0, "the interval is over"
        elif self._after_alarm and row >= self._after_alarm[0]:
            self._after_alarm.pop(0)
            recent, self.reason = self._change, "after an alarm"
            wanted = tuple(estimator for estimator in self._estimators if estimator.recent)
            kept = math.ceil(max(self._budget.rows - self._next, 0) / self._interval) * len(self._estimators)
        else:
            return []
        if spent + len(wanted) + kept > self._budget.fits:
            return []
        return [(estimator, recent if estimator.recent else 0) for estimator in wanted]
