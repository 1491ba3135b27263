"""The adaptation policy: what answers, what is fitted and when, what is promoted and what is rolled back."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation.blend import Blend
from tidemill.processors.adaptation.estimators import ESTIMATORS, Estimator, Predictor, fit
from tidemill.processors.adaptation.events import Event, Kind
from tidemill.processors.adaptation.fitted import Fitted
from tidemill.processors.adaptation.forest import AdaptiveForest
from tidemill.processors.adaptation.history import History
from tidemill.processors.adaptation.portfolio import Portfolio
from tidemill.processors.adaptation.rival import Rival, listed, together, unlisted
from tidemill.processors.adaptation.schedule import Schedule
from tidemill.processors.adaptation.settings import BUDGET, DEFAULT, Budget, Settings
from tidemill.processors.adaptation.watch import Watch
from tidemill.schemas.errors import DeclarationError, ModelError

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

FOREST, FIRST = "forest", "first"
"""Places in every portfolio: the forest that learns each label, and the first batch model, which stays for good."""

Fitter = Callable[[Estimator, _Floats, _Integers, int, tuple[int, int]], Predictor]
"""Fits an estimator on rows and labels, given the number of classes and the span of labelled rows that they are."""


def _fit(estimator: Estimator, rows: _Floats, labels: _Integers, classes: int, _: tuple[int, int]) -> Predictor:
    return fit(estimator, rows, labels, classes)


class Adaptation:
    """Answers rows, and adapts to drift by their labels, which may come as late as they like, but in order.

    `predict` answers by what has been learnt so far. `learn` takes the labels of the rows that follow those learnt
    before, and says what was done because of them. How calls are cut into blocks changes nothing. What answers is a
    portfolio of an adaptive forest and batch models, mixed by how each did on the newest labels (`Blend`). The first
    batch models are fitted on the first `first` labels; until then the forest answers alone.

    Later ones are fitted at intervals and after alarms (`Schedule`) and answer in the shadow, judged on labels that
    are newer than what they were fitted on. They are promoted, all at once, if the portfolio with them has surely
    less loss and no more errors; the portfolio without them is then kept in the shadow, and comes back if it is
    surely better.

    `rows` are (n × `features`) float64, NaN where a value is missing, labels class codes below `classes`. `budget` is
    for each period of its rows. `fitter` is for who fits elsewhere. Raises DeclarationError for numbers that make no
    sense.

    >>> policy = Adaptation(2, 2)
    >>> rows = np.random.default_rng(0).normal(size=(1_500, 2))
    >>> events = policy.learn(rows, (rows[:, 0] > 0).astype(int))
    >>> [event.reason for event in events]
    ['first@0-1000', 'linear@0-1000', 'history@0-1500', 'recent@0-1500', 'linear@0-1500']
    >>> policy.predict(np.array([[2.0, 0.0], [-2.0, 0.0]])).argmax(axis=1).tolist()
    [1, 0]
    """

    def __init__(
        self,
        features: int,
        classes: int,
        *,
        budget: Budget = BUDGET,
        settings: Settings = DEFAULT,
        estimators: Sequence[Estimator] = ESTIMATORS,
        fitter: Fitter = _fit,
    ) -> None:
        first = settings.first
        if min(features, classes, first, budget.rows) < 1:
            raise DeclarationError(
                "features, classes, first and the budget's rows: expected at least 1 of each, got "
                f"{features}, {classes}, {first}, {budget.rows}"
            )
        self.settings, self.budget, self.events = settings, budget, list[Event]()
        self._features = features
        self._classes, self._first, self._estimators, self._fitter = classes, first, tuple(estimators), fitter
        self._forest = AdaptiveForest(features, classes, trees=settings.trees, seed=settings.seed)
        self._history = History(features, limit=settings.history)
        self._models: dict[str, Predictor] = {FOREST: self._forest.predict}
        alone = Blend((FOREST,), half_life=settings.half_life, rate=settings.rate)
        self._champion = Portfolio({FOREST: FOREST}, alone)
        self._challenger: Rival | None = None
        self._former: Rival | None = None
        self._watch = Watch(first=first, rows_per_alarm=settings.rows_per_alarm)
        self._schedule = Schedule(self._estimators, budget=budget, settings=settings)
        self._open: list[tuple[_Floats, _Floats]] = []
        self.promotions = self.fits = 0
        """Changes of the batch models that answer, rollbacks too; batch models that were fitted."""
        self._spent = {"promotions": 0, "fits": 0}
        """What of both was before the budget's period."""

    @property
    def learnt(self) -> int:
        """How many labels have been taken."""
        return self._history.end

    @property
    def champion(self) -> dict[str, tuple[str, float]]:
        """What answers: by place, the model and its part in the next answer."""
        weights = self._champion.blend.weights
        return {place: (name, weights[place]) for place, name in self._champion.version.items()}

    def predict(self, rows: _Floats) -> _Floats:
        """Probabilities (n × classes), by what has been learnt so far."""
        answers = {name: self._models[name](rows) for name in self._champion.models}
        return self._champion.predict(answers)

    def learn(self, rows: _Floats, labels: _Integers) -> list[Event]:
        """Take the labels of the rows that follow those before; what was done because of them."""
        before = len(self.events)
        self.answer_and_learn(rows, labels)
        return self.events[before:]

    def answer_and_learn(self, rows: _Floats, labels: _Integers) -> _Floats:
        """For each row in turn: predict it, then learn it. As one by one, but quicker."""
        return self._advance(rows, labels, None)

    def interleave(self, asked: _Floats, rows: _Floats, labels: _Integers) -> _Floats:
        """For each place in turn: predict the row asked, then learn the other (as many). The same as one by one.

        With labels `d` rows late `rows` are those `d` before `asked`: a row is answered by all labels that are known
        then, as it is when labels come one by one, but many times quicker.
        """
        if len(asked) != len(rows):
            raise DeclarationError(f"expected as many rows asked as learnt, got {len(asked)} and {len(rows)}")
        return self._advance(rows, labels, asked)

    def _advance(self, rows: _Floats, labels: _Integers, asked: _Floats | None) -> _Floats:
        if len(rows) != len(labels) or (len(labels) and not 0 <= labels.min() <= labels.max() < self._classes):
            raise DeclarationError(f"labels: expected a class code below {self._classes} for each of {len(rows)} rows")
        given, taken, pace = np.zeros((len(rows), self._classes)), 0, self.settings.pace
        while taken < len(rows):
            room = pace - self.learnt % pace
            if self.learnt < self._first:
                room = min(room, self._first - self.learnt)
            part = slice(taken, taken + room)
            given[part] = self._take(rows[part], labels[part], None if asked is None else asked[part])
            taken += room
            if self.learnt == self._first:
                self._begin()
            if self.learnt % pace == 0:
                self._decide()
        return given

    def _rivals(self) -> list[Rival]:
        return [rival for rival in (self._challenger, self._former) if rival is not None]

    def _used(self) -> set[str]:
        return self._champion.models.union(*(rival.portfolio.models for rival in self._rivals()))

    def _take(self, rows: _Floats, labels: _Integers, asked: _Floats | None) -> _Floats:
        """Learn rows between two decisions; the answers to those asked, or else to these, each before its label."""
        answers = {name: self._models[name](rows) for name in self._used() if name != FOREST}
        if asked is None:
            answers[FOREST] = self._forest.learn(rows, labels)
            given, (losses, errors) = self._champion.learn(answers, labels)
        else:
            wanted = {name: self._models[name](asked) for name in self._champion.models if name != FOREST}
            wanted[FOREST], answers[FOREST] = self._forest.interleave(asked, rows, labels)
            given, (losses, errors) = self._champion.interleave(wanted, answers, labels)
        self._open.append((losses, errors))
        for rival in self._rivals():
            rival.take(answers, labels)
        if self.learnt >= self._first:
            for row, change in self._watch.take(errors):
                self._schedule.alarm(change)
                self._note(Kind.ALARM, "errors have become more frequent", {"change": change}, row)
        self._history.add(rows, labels)
        return given

    def _begin(self) -> None:
        slow, *others = sorted(self._estimators, key=lambda estimator: estimator.recent)
        # On the same rows the same estimator gives the same model: one of each kind is enough.
        kinds = {estimator.make: estimator.name for estimator in others if estimator.make is not slow.make}
        version = {FOREST: FOREST, FIRST: self._fitted(slow, 0, FIRST)}
        version |= {e.name: self._fitted(e, 0) for e in others if kinds.get(e.make) == e.name}
        self._champion = Portfolio(version, self._champion.blend.over(tuple(version), {}))

    def _fitted(self, estimator: Estimator, start: int, place: str = "") -> str:
        start, stop = max(start, self._history.oldest), self.learnt
        rows, labels = self._history.span(start, stop)
        name = f"{place or estimator.name}@{start}-{stop}"
        self._models[name] = self._fitter(estimator, rows, labels, self._classes, (start, stop))
        self.fits += 1
        self._note(Kind.FIT, name, {"rows": len(rows)})
        return name

    def _decide(self) -> None:
        champion = together(self._open)
        self._open.clear()
        for rival in self._rivals():
            rival.settle(champion)
        self._judge_former()
        self._judge_challenger()
        if self.learnt % self.budget.rows < self.settings.pace:
            self._spent = {"promotions": self.promotions, "fits": self.fits}
        if due := self._schedule.due(self.learnt, spent=self.fits - self._spent["fits"]):
            self._challenge({estimator.name: self._fitted(estimator, start) for estimator, start in due})
        used = self._used()
        self._models = {name: model for name, model in self._models.items() if name in used}

    @property
    def _promotions_left(self) -> int:
        return self.budget.promotions - (self.promotions - self._spent["promotions"])

    def _judge_former(self) -> None:
        former = self._former
        if former is not None and former.better and self._promotions_left > 0:
            self.promotions += 1
            self._note(Kind.ROLLBACK, former.reason, former.figures)
            self._champion, self._former, self._challenger = former.portfolio, None, None
        elif former is not None and self.learnt >= former.until:
            self._note(Kind.CONFIRMATION, former.reason, former.figures)
            self._former = None

    def _judge_challenger(self) -> None:
        challenger = self._challenger
        # One change is kept back for taking this one back.
        if challenger is not None and challenger.better and self._promotions_left > 1:
            if self._former is not None:
                self._note(Kind.CONFIRMATION, self._former.reason, self._former.figures)
            self.promotions += 1
            self._note(Kind.PROMOTION, challenger.reason, challenger.figures)
            self._former = self._rival(self._champion, self.settings.probation, "what was before")
            self._champion, self._challenger = challenger.portfolio, None
        elif challenger is not None and self.learnt >= challenger.until:
            self._refuse(challenger)

    def _challenge(self, models: dict[str, str]) -> None:
        if self._challenger is not None:
            self._refuse(self._challenger)
        portfolio = self._champion.with_models(models, like=FIRST)
        self._challenger = self._rival(portfolio, self._schedule.interval, self._schedule.reason)

    def _refuse(self, challenger: Rival) -> None:
        self._note(Kind.REFUSAL, challenger.reason, challenger.figures)
        self._challenger = None

    def _rival(self, portfolio: Portfolio, rows: int, reason: str) -> Rival:
        settings = self.settings
        until = self.learnt + rows
        return Rival(portfolio, until=until, reason=reason, least=settings.batches, margin=settings.margin)

    def _note(self, kind: Kind, reason: str, figures: dict[str, float], row: int | None = None) -> None:
        self.events.append(Event(kind, self.learnt if row is None else row, reason, figures))

    def saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """All that answers and decisions depend on, but not `events`: what JSON can hold, and arrays.

        Models must be those that `fit` makes.
        """
        models = {name: model for name, model in self._models.items() if isinstance(model, Fitted)}
        kept: dict[str, Any] = {
            "learnt": self.learnt,
            "promotions": self.promotions,
            "fits": self.fits,
            "spent": self._spent,
            "models": {name: model.kind for name, model in models.items()},
            "champion": self._champion.saved(),
            "challenger": self._challenger.saved() if self._challenger else None,
            "former": self._former.saved() if self._former else None,
            "watch": self._watch.saved(),
            "schedule": self._schedule.saved(),
            "open": listed(self._open),
        }
        parts = {"forest": self._forest.saved(), "history": self._history.saved()}
        parts |= {f"model {name}": model.arrays for name, model in models.items()}
        return kept, {f"{part}/{name}": array for part, own in parts.items() for name, array in own.items()}

    def restore(self, kept: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Go on where one of the same settings was saved: it learns and decides the same from there.

        Raises:
            ModelError: arrays are not those that one saves.

        """
        parts: dict[str, dict[str, NDArray[Any]]] = {}
        for path, array in arrays.items():
            part, name = path.rsplit("/", 1)
            parts.setdefault(part, {})[name] = array
        self._forest.restore(parts["forest"])
        self._history.restore(parts["history"], int(kept["learnt"]), self._classes)
        self._models = {FOREST: self._forest.predict}
        for name, kind in kept["models"].items():
            self._models[name] = Fitted(kind, self._classes, self._features, parts[f"model {name}"])
        self.promotions, self.fits = int(kept["promotions"]), int(kept["fits"])
        self._spent = {name: int(kept["spent"][name]) for name in self._spent}
        self._champion = self._champion.restored(kept["champion"])
        self._challenger, self._former = (self._restored(kept[name]) for name in ("challenger", "former"))
        self._watch.restore(kept["watch"])
        self._schedule.restore(kept["schedule"])
        self._open = unlisted(kept["open"])
        if not self._used() <= self._models.keys():
            raise ModelError("a stored vote asks models that are not stored: it was altered")

    def _restored(self, saved: Mapping[str, Any] | None) -> Rival | None:
        if saved is None:
            return None
        made = self._rival(self._champion.restored(saved["portfolio"]), 0, saved["reason"])
        made.until = int(saved["until"])
        made.restore(saved)
        return made
