"""The adaptation policy: what answers, what is fitted and when, what is promoted and what is rolled back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation.blend import Blend
from tidemill.processors.adaptation.estimators import ESTIMATORS, Estimator, Predictor, fit
from tidemill.processors.adaptation.events import Event, Kind
from tidemill.processors.adaptation.evidence import Evidence
from tidemill.processors.adaptation.forest import AdaptiveForest
from tidemill.processors.adaptation.history import History
from tidemill.processors.adaptation.portfolio import Portfolio
from tidemill.processors.adaptation.settings import DEFAULT, Budget, Settings
from tidemill.processors.drift.shiryaev_roberts import ShiryaevRoberts

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

FOREST, FIRST = "forest", "first"

Fitter = Callable[[Estimator, _Floats, _Integers, int, tuple[int, int]], Predictor]
"""Fits an estimator on rows and labels, given the number of classes and the span of the history they are."""


@dataclass
class _Rival:
    """A portfolio that answers in the shadow, and the evidence on whether it is better than what answers."""

    portfolio: Portfolio
    evidence: Evidence
    errors: Evidence
    until: float
    reason: str
    open: list[tuple[_Floats, _Floats]] = field(default_factory=list)


def _fit(estimator: Estimator, rows: _Floats, labels: _Integers, classes: int, _: tuple[int, int]) -> Predictor:
    return fit(estimator, rows, labels, classes)


class Adaptation:
    """Answers rows and learns from their labels, which may come late, in their order."""

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        first: int,
        budget: Budget,
        settings: Settings = DEFAULT,
        estimators: Sequence[Estimator] = ESTIMATORS,
        fitter: Fitter = _fit,
    ) -> None:
        self.settings, self.budget, self.events = settings, budget, list[Event]()
        self._classes, self._first, self._estimators, self._fitter = classes, first, tuple(estimators), fitter
        self._forest = AdaptiveForest(features, classes, trees=settings.trees, seed=settings.seed)
        self._history = History(features, limit=settings.history)
        self._models: dict[str, Predictor] = {}
        self._champion = Portfolio(
            {FOREST: FOREST}, Blend((FOREST,), half_life=settings.half_life, rate=settings.rate)
        )
        self._challenger: _Rival | None = None
        self._former: _Rival | None = None
        self._detector = ShiryaevRoberts(rows_per_alarm=settings.rows_per_alarm)
        self._watched = 0
        self._next_refit = float("inf")
        self._after_alarm: list[float] = []
        self._change = 0
        self._open: list[tuple[_Floats, _Floats]] = []

    def count(self, *kinds: Kind) -> int:
        """How many events there were of these kinds."""
        return sum(event.kind in kinds for event in self.events)

    @property
    def promotions(self) -> int:
        """Changes of the models that answer, with those that were rolled back and the rollbacks."""
        return self.count(Kind.PROMOTION, Kind.ROLLBACK)

    @property
    def fits(self) -> int:
        """Batch models that were fitted."""
        return self.count(Kind.FIT)

    def predict(self, rows: _Floats) -> _Floats:
        """Probabilities (n × classes), by what has been learnt so far."""
        answers = {name: self._model(name, rows) for name in set(self._champion.version.values())}
        return self._champion.blend.predict(self._champion.answers(answers))

    def learn(self, rows: _Floats, labels: _Integers) -> list[Event]:
        """Take the labels of the rows that follow those before; what was done because of them."""
        before, taken = len(self.events), 0
        while taken < len(rows):
            room = self.settings.pace - self._history.end % self.settings.pace
            if self._history.end < self._first:
                room = min(room, self._first - self._history.end)
            part = slice(taken, taken + room)
            self._take(rows[part], labels[part])
            taken += room
            if self._history.end == self._first:
                self._begin()
            if self._history.end % self.settings.pace == 0:
                self._decide()
        return self.events[before:]

    def _model(self, name: str, rows: _Floats) -> _Floats:
        return self._forest.predict(rows) if name == FOREST else self._models[name](rows)

    def _rivals(self) -> list[_Rival]:
        return [rival for rival in (self._challenger, self._former) if rival is not None]

    def _take(self, rows: _Floats, labels: _Integers) -> None:
        names = {name for rival in self._rivals() for name in rival.portfolio.version.values()}
        names |= set(self._champion.version.values())
        answers = {name: self._models[name](rows) for name in names if name != FOREST}
        answers[FOREST] = self._forest.learn(rows, labels)
        losses, errors = self._champion.learn(answers, labels)
        self._open.append((losses, errors))
        for rival in self._rivals():
            rival.open.append(rival.portfolio.learn(answers, labels))
        if self._history.end >= self._first:
            self._watch(errors)
        self._history.add(rows, labels)

    def _watch(self, errors: _Floats) -> None:
        taken = 0
        while taken < len(errors):
            found = self._detector.update_blocks(errors[taken:])
            if found is None:
                break
            taken += found + 1
            row = self._history.end + taken
            change = self._first + int(self._detector.change_point or 0)
            self._change = change
            self._after_alarm = [change + max(share * self.budget.rows, 100) for share in self.settings.after_alarm]
            self.events.append(Event(Kind.ALARM, row, "errors have become more frequent", {"change": change}))

    def _begin(self) -> None:
        batch, recent = self._estimators[0], [e for e in self._estimators if e.recent]
        version = {FOREST: FOREST, FIRST: self._fitted(batch, 0)}
        for estimator in recent:
            if estimator.make is not batch.make:
                version[estimator.name] = self._fitted(estimator, 0)
        self._champion = Portfolio(version, self._champion.blend.over(tuple(version), {}))
        self._next_refit = self._first + self.settings.refit_every * self.budget.rows

    def _fitted(self, estimator: Estimator, start: int) -> str:
        start, stop = max(start, 0), self._history.end
        rows, labels = self._history.span(start, stop)
        name = f"{estimator.name}@{start}-{stop}"
        self._models[name] = self._fitter(estimator, rows, labels, self._classes, (start, stop))
        self.events.append(Event(Kind.FIT, stop, name, {"rows": len(rows)}))
        return name

    def _decide(self) -> None:
        for rival in self._rivals():
            mine, theirs = (np.concatenate(column) for column in zip(*self._open, strict=True)), rival.open
            if theirs:
                (losses, errors), (other, others) = tuple(mine), (np.concatenate(c) for c in zip(*theirs, strict=True))
                rival.evidence.add(losses[-len(other) :], other)
                rival.errors.add(errors[-len(others) :], others)
                rival.open.clear()
        self._open.clear()
        if self._former is not None:
            self._judge_former(self._former)
        if self._challenger is not None:
            self._judge_challenger(self._challenger)
        self._refit()
        used = {name for rival in self._rivals() for name in rival.portfolio.version.values()}
        used |= set(self._champion.version.values())
        self._models = {name: model for name, model in self._models.items() if name in used}

    def _better(self, rival: _Rival) -> bool:
        return rival.evidence.score > self.settings.margin and rival.errors.mean >= 0

    def _judge_former(self, former: _Rival) -> None:
        if self._better(former) and self.promotions < self.budget.promotions:
            self._event(Kind.ROLLBACK, former)
            self._champion, self._former, self._challenger = former.portfolio, None, None
        elif self._history.end >= former.until:
            self._former = None

    def _judge_challenger(self, challenger: _Rival) -> None:
        if self._better(challenger) and self.promotions < self.budget.promotions - 1:
            self._event(Kind.PROMOTION, challenger)
            until = self._history.end + self.settings.probation * self.budget.rows
            self._former = self._rival(self._champion, until, "worse than what answered before")
            self._champion, self._challenger = challenger.portfolio, None
        elif self._history.end >= challenger.until:
            self._event(Kind.REFUSAL, challenger)
            self._challenger = None

    def _event(self, kind: Kind, rival: _Rival) -> None:
        figures = {
            "rows": float(rival.evidence.rows),
            "loss": rival.evidence.mean,
            "errors": rival.errors.mean,
            "score": rival.evidence.score,
        }
        self.events.append(Event(kind, self._history.end, rival.reason, figures))

    def _rival(self, portfolio: Portfolio, until: float, reason: str) -> _Rival:
        least = self.settings.batches
        return _Rival(portfolio, Evidence(least=least), Evidence(least=least), until, reason)

    def _refit(self) -> None:
        end, interval = self._history.end, self.settings.refit_every * self.budget.rows
        recent = [estimator for estimator in self._estimators if estimator.recent]
        if end >= self._next_refit:
            self._next_refit += interval
            if self.fits + len(self._estimators) <= self.budget.fits:
                window = max(end - int(interval), self._change if self._after_alarm else 0)
                starts = {e.name: (window if e.recent else 0) for e in self._estimators}
                self._challenge({e.name: self._fitted(e, starts[e.name]) for e in self._estimators}, "refitted")
        elif self._after_alarm and end >= self._after_alarm[0]:
            self._after_alarm.pop(0)
            due = -(-max(self.budget.rows - self._next_refit, 0) // interval) * len(self._estimators)
            if self.fits + len(recent) + due <= self.budget.fits:
                self._challenge({e.name: self._fitted(e, self._change) for e in recent}, "fitted after an alarm")

    def _challenge(self, models: dict[str, str], reason: str) -> None:
        if self._challenger is not None:
            self._event(Kind.REFUSAL, self._challenger)
        until = self._history.end + self.settings.refit_every * self.budget.rows
        self._challenger = self._rival(self._champion.with_models(models, like=FIRST), until, reason)
