"""The adaptation policy as a model of a pipeline: it learns each outcome, and what answers adapts to drift."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation.encoding import Encoder, kinds_of
from tidemill.processors.adaptation.events import Event, Kind
from tidemill.processors.adaptation.packed import pack, unpack
from tidemill.processors.adaptation.policy import Adaptation
from tidemill.processors.adaptation.settings import BUDGET, DEFAULT, Budget
from tidemill.schemas.errors import DeclarationError, ModelError

if TYPE_CHECKING:
    import pandas as pd

_Floats = NDArray[np.float64]
_TOLD = (Kind.ALARM, Kind.PROMOTION, Kind.ROLLBACK)


class AdaptiveClassifier:
    """A classifier that adapts to drift: an adaptive forest and batch models, mixed by how each did on newest labels.

    Declare it as a pipeline's model with `learning=tm.Learning(...)`; `tidemill learn` runs it. It has the methods of
    River's classifiers. Features are numbers, booleans and text, of which any may be missing; what they are is settled
    by the first rows that are learned. The defaults are meant for every stream.

    In each `period` of so many labels at most so many batch models are fitted (`fits`) and what answers is changed at
    most so often (`promotions`, rollbacks too); each period has the whole budget again. `classes` are those of the
    pipeline, which need not be said there. The same `seed` learns the same.

    >>> model = AdaptiveClassifier(classes=("low", "high"))
    >>> for n in range(200):
    ...     model.learn_one({"level": n % 10, "tide": "ebb" if n % 3 else "flood"}, "high" if n % 10 > 4 else "low")
    >>> model.predict_one({"level": 9, "tide": None}), model.predict_one({"level": 0, "tide": "unknown"})
    ('high', 'low')

    Raises:
        DeclarationError: a number is below 1, or there are fewer than two classes.

    """

    row_by_row: ClassVar[bool] = True
    """A row's answer does not depend on those beside it, to the last bit."""

    def __init__(
        self,
        *,
        classes: Sequence[bool | int | str] | None = None,
        period: int = BUDGET.rows,
        promotions: int = BUDGET.promotions,
        fits: int = BUDGET.fits,
        seed: int = DEFAULT.seed,
    ) -> None:
        for name, number in (("period", period), ("promotions", promotions), ("fits", fits)):
            if number < 1:
                raise DeclarationError(f"AdaptiveClassifier({name}={number}): expected at least 1")
        if classes is not None and (len(classes) < 2 or len(set(classes)) < len(classes)):
            raise DeclarationError(f"AdaptiveClassifier(classes={classes!r}): expected two different ones at least")
        self.classes = None if classes is None else tuple(classes)
        self.period, self.promotions, self.fits, self.seed = period, promotions, fits, seed
        self._encoder: Encoder | None = None
        self._policy: Adaptation | None = None

    def clone(self, new_params: Mapping[str, Any] | None = None) -> "AdaptiveClassifier":
        """A fresh one that has learned nothing, with these parameters instead of its own."""
        return AdaptiveClassifier(**(self._parameters() | dict(new_params or {})))

    def for_classes(self, classes: Sequence[bool | int | str]) -> "AdaptiveClassifier":
        """A fresh one for the classes of a pipeline, in its order; raises DeclarationError if they are numbers."""
        if not classes:
            raise DeclarationError(
                "AdaptiveClassifier answers classes, but the pipeline's label is a number: make classes of it, such as"
                " label=pl.col('delay') > 15, or take a regression of River's"
            )
        if self.classes is not None and self.classes != tuple(classes):
            raise DeclarationError(
                f"AdaptiveClassifier(classes={self.classes!r}): the pipeline has {tuple(classes)!r}; leave them out"
            )
        return self.clone({"classes": tuple(classes)})

    def _parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("classes", "period", "promotions", "fits", "seed")}

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes in the order of probabilities."""
        return np.array(self._known_classes(), dtype=object)

    def _known_classes(self) -> tuple[bool | int | str, ...]:
        if self.classes is None:
            raise ModelError("AdaptiveClassifier has to know its classes before it can learn: say classes=[...]")
        return self.classes

    def answer_and_learn(self, frame: "pd.DataFrame", labels: Sequence[Any]) -> _Floats:
        """Learn rows in their order: the probabilities (n × classes) that each is answered with just before.

        How rows are cut into blocks changes nothing. Raises ModelError for a label that is none of the classes.
        """
        codes = self._coded(labels)
        if self._encoder is None or self._policy is None:
            self._encoder = Encoder(kinds_of(frame), len(self._known_classes()))
            self._policy = self._new_policy(self._encoder)
        return self._policy.answer_and_learn(self._encoder.learn(frame, codes), codes)

    def _coded(self, labels: Sequence[Any]) -> NDArray[np.int64]:
        places = {label: place for place, label in enumerate(self._known_classes())}
        try:
            return np.array([places[label] for label in labels], np.int64)
        except KeyError as error:
            raise ModelError(f"expected a label of {self.classes}, got {error}") from None

    def _new_policy(self, encoder: Encoder) -> Adaptation:
        budget = Budget(self.period, self.promotions, self.fits)
        settings = DEFAULT if self.seed == DEFAULT.seed else DEFAULT.with_seed(self.seed)
        return Adaptation(encoder.width, len(self._known_classes()), budget=budget, settings=settings)

    def learn_one(self, x: Mapping[str, Any], y: Any) -> None:
        """Learn one row."""
        import pandas as pd

        self.learn_many(pd.DataFrame([dict(x)]), [y])

    def learn_many(self, X: "pd.DataFrame", y: Sequence[Any]) -> None:  # noqa: N803 - as River names it
        """Learn rows in their order, which is the same as one by one."""
        self.answer_and_learn(X, list(y))

    def predict_proba(self, X: "pd.DataFrame") -> _Floats:  # noqa: N803
        """Probabilities (n × classes); all alike before anything is learned."""
        classes = len(self._known_classes())
        if self._encoder is None or self._policy is None:
            return np.full((len(X), classes), 1 / classes)
        return self._policy.predict(self._encoder.encode(X))

    def predict_proba_many(self, X: "pd.DataFrame") -> "pd.DataFrame":  # noqa: N803
        """Probabilities with a column for each class."""
        import pandas as pd

        return pd.DataFrame(self.predict_proba(X), columns=list(self._known_classes()), index=X.index)

    def predict_proba_one(self, x: Mapping[str, Any]) -> dict[Any, float]:
        """Each class's probability."""
        import pandas as pd

        (answer,) = self.predict_proba(pd.DataFrame([dict(x)])).tolist()
        return dict(zip(self._known_classes(), answer, strict=True))

    def predict_many(self, X: "pd.DataFrame") -> "pd.Series":  # noqa: N803
        """The likeliest class of each row."""
        import pandas as pd

        return pd.Series(self.classes_[self.predict_proba(X).argmax(axis=1)], index=X.index)

    def predict_one(self, x: Mapping[str, Any]) -> Any:
        """The likeliest class."""
        answer = self.predict_proba_one(x)
        return max(answer, key=answer.__getitem__)

    @property
    def events(self) -> list[Event]:
        """What was done since it was made or loaded: alarms, fits, promotions, refusals, rollbacks."""
        return [] if self._policy is None else self._policy.events

    @property
    def done(self) -> str:
        """What was done since it was made or loaded, as a phrase.

        >>> AdaptiveClassifier().done
        'nothing was fitted or changed'
        """
        counts = Counter(event.kind for event in self.events)
        names = {Kind.FIT: "fit", Kind.PROMOTION: "promotion", Kind.ROLLBACK: "rollback", Kind.ALARM: "alarm"}
        parts = [f"{counts[kind]} {name}{'s' * (counts[kind] > 1)}" for kind, name in names.items() if counts[kind]]
        said = [f"{e.kind} at label {e.row:,}: {e.reason}" for e in self.events if e.kind in _TOLD]
        return "; ".join([", ".join(parts), *said[-_MOST_TOLD:]]) if parts else "nothing was fitted or changed"

    def __getstate__(self) -> dict[str, Any]:
        """Numbers and text only."""
        return {"parameters": self._parameters(), "learned": self._packed()}

    def _packed(self) -> bytes:
        if self._encoder is None or self._policy is None:
            return b""
        parts = {"encoder": self._encoder.saved(), "policy": self._policy.saved()}
        arrays = {f"{part}/{name}": array for part, (_, own) in parts.items() for name, array in own.items()}
        return pack({part: kept for part, (kept, _) in parts.items()}, arrays)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Go on as it was stored; raises ModelError for what was not stored by one."""
        try:
            AdaptiveClassifier.__init__(self, **state["parameters"])
            if state["learned"]:
                self._restore(*unpack(state["learned"]))
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, DeclarationError) as error:
            raise ModelError(
                f"a stored AdaptiveClassifier cannot be read ({type(error).__name__}: {error}): it was altered, or is"
                " of another version"
            ) from None

    def _restore(self, kept: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        own: dict[str, dict[str, NDArray[Any]]] = {"encoder": {}, "policy": {}}
        for path, array in arrays.items():
            part, name = path.split("/", 1)
            own[part][name] = array
        self._encoder = Encoder(kept["encoder"]["kinds"], len(self._known_classes()))
        self._encoder.restore(kept["encoder"], own["encoder"])
        self._policy = self._new_policy(self._encoder)
        self._policy.restore(kept["policy"], own["policy"])
        # Compiled now, so that no event has to wait for it.
        self._policy.predict(np.zeros((1, self._encoder.width)))


_MOST_TOLD = 5
