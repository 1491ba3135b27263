"""Which batch models are fitted when, and on which rows."""

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.processors.adaptation.estimators import Estimator
from tidemill.processors.adaptation.settings import Budget, Settings


class Schedule:
    """All estimators at intervals, those of recent rows after an alarm as well, within the budget of fits.

    Intervals grow with the number of rows up to a limit: what is new in proportion is what a new fit can gain by. Fits
    after an alarm never take what the intervals still need in the budget's period.

    >>> from tidemill.processors.adaptation import DEFAULT, ESTIMATORS
    >>> schedule = Schedule(ESTIMATORS, budget=Budget(10_000), settings=DEFAULT)
    >>> [(estimator.name, start) for estimator, start in schedule.due(1_500, spent=2)]
    [('history', 0), ('recent', 0), ('linear', 0)]
    >>> schedule.alarm(1_400)
    >>> [(estimator.name, start) for estimator, start in schedule.due(1_900, spent=5)]
    [('recent', 1400), ('linear', 1400)]
    """

    def __init__(self, estimators: Sequence[Estimator], *, budget: Budget, settings: Settings) -> None:
        self._estimators, self._budget, self._settings = tuple(estimators), budget, settings
        self._last, self._next = settings.first, self._after(settings.first)
        self._change, self._after_alarm = 0, list[int]()
        self.reason = ""
        """Why what was due last was so."""

    def _after(self, row: int) -> int:
        return row + min(max(round(self._settings.growth * row), self._settings.pace), self._settings.refit_every)

    @property
    def interval(self) -> int:
        """Rows between the last fit of everything and the next."""
        return self._next - self._last

    def alarm(self, change: int) -> None:
        """Rows before `change` are of the past."""
        self._change = change
        self._after_alarm = [change + rows for rows in self._settings.after_alarm]

    def due(self, row: int, *, spent: int) -> list[tuple[Estimator, int]]:
        """What is to be fitted now, and on the rows from where on; nothing if the period's budget has been `spent`."""
        if row >= self._next:
            since, self._last, self._next = row - self._last, row, self._after(row)
            newest = row - max(since, self._settings.recent)
            recent = max(newest, self._change if self._after_alarm else 0, 0)
            wanted, kept, self.reason = self._estimators, 0, "the interval is over"
        elif self._after_alarm and row >= self._after_alarm[0]:
            self._after_alarm.pop(0)
            recent, self.reason = self._change, "after an alarm"
            wanted = tuple(estimator for estimator in self._estimators if estimator.recent)
            kept = self._left(row) * len(self._estimators)
        else:
            return []
        if spent + len(wanted) + kept > self._budget.fits:
            return []
        return [(estimator, recent if estimator.recent else 0) for estimator in wanted]

    def _left(self, row: int) -> int:
        """How many intervals end before the period does."""
        count, at, end = 0, self._next, (row // self._budget.rows + 1) * self._budget.rows
        while at < end:
            count, at = count + 1, self._after(at)
        return count

    def saved(self) -> dict[str, Any]:
        """Where it stands, as JSON can hold it."""
        return {"next": self._next, "last": self._last, "change": self._change, "alarm": list(self._after_alarm)}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Go on where one of the same settings was saved."""
        self._next, self._last, self._change = (int(saved[name]) for name in ("next", "last", "change"))
        self._after_alarm = [int(row) for row in saved["alarm"]]
