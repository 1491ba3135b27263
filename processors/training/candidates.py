"""What may become the model: estimators by name, and the parameters of each that are searched.

Every search has the pipeline's own estimator as its first candidate, and the simple baseline beside them all.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tidemill.schemas.errors import DeclarationError, nearest

BASELINE = "baseline"
"""The name of the guess that knows only the labels: the classes' shares, or the median."""
DECLARED = "estimator"
"""The name of the candidate that is `Model(estimator)`."""
_SIMPLE = (str, bool, int, float, type(None))


@dataclass(frozen=True)
class Space:
    """Where a parameter is looked for: made by `uniform`, `log_uniform`, `integer` and `choice`."""

    kind: str
    low: float = 0
    high: float = 0
    values: tuple[Any, ...] = ()

    def describe(self) -> str:
        """As it was declared, for people."""
        if self.kind == "choice":
            return f"choice({list(self.values)!r})"
        return f"{self.kind}({self.low!r}, {self.high!r})"

    @property
    def names(self) -> tuple[Any, ...]:
        """How a choice's values are called in a record of trials: as they are, or their `repr`."""
        return tuple(value if isinstance(value, _SIMPLE) else repr(value) for value in self.values)

    def value(self, name: Any) -> Any:
        """The value that a record of trials calls so."""
        return self.values[self.names.index(name)] if self.kind == "choice" else name

    def name_of(self, value: Any) -> Any:
        """How a record of trials calls the value; None, or a number outside, if it is not in the space.

        >>> choice([(10,), (20, 20)]).name_of((10,)), uniform(0, 1).name_of(2.0)
        ('(10,)', None)
        """
        if self.kind == "choice":
            found = [name for name, known in zip(self.names, self.values, strict=True) if _same(known, value)]
            return found[0] if found else None
        wanted = (int,) if self.kind == "integer" else (int, float)
        if isinstance(value, bool) or not isinstance(value, wanted) or not self.low <= value <= self.high:
            return None
        return value if self.kind == "integer" else float(value)


def _same(known: Any, value: Any) -> bool:
    return type(known) is type(value) and bool(known == value)


def uniform(low: float, high: float) -> Space:
    """A number from `low` to `high`.

    >>> uniform(0.5, 1).describe()
    'uniform(0.5, 1)'
    """
    return Space("uniform", *_bounds("uniform", low, high))


def log_uniform(low: float, high: float) -> Space:
    """A positive number from `low` to `high`, each order of magnitude as likely as the next."""
    if not low > 0:
        raise DeclarationError(f"log_uniform({low!r}, {high!r}): expected bounds above 0; take uniform(...) for others")
    return Space("log_uniform", *_bounds("log_uniform", low, high))


def integer(low: int, high: int) -> Space:
    """A whole number from `low` to `high`, both included."""
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, int):
            raise DeclarationError(f"integer({low!r}, {high!r}): expected whole numbers")
    return Space("integer", *_bounds("integer", low, high))


def choice(values: Sequence[Any]) -> Space:
    """One of the listed values.

    >>> choice(["gini", "entropy"]).values
    ('gini', 'entropy')
    """
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise DeclarationError(f"choice({values!r}): expected a list of values")
    space = Space("choice", values=tuple(values))
    if len({(type(name).__name__, name) for name in space.names}) < len(values):
        raise DeclarationError(f"choice({list(values)!r}): expected different values")
    return space


def _bounds(kind: str, low: float, high: float) -> tuple[float, float]:
    try:
        fits = math.isfinite(low) and math.isfinite(high) and low < high
    except TypeError:
        fits = False
    if not fits:
        raise DeclarationError(f"{kind}({low!r}, {high!r}): expected two finite numbers, the smaller one first")
    return low, high


@dataclass(frozen=True)
class Candidate:
    """An unfitted estimator, of scikit-learn's interface or River's, and where its parameters are looked for.

    `search` names parameters as the estimator's `get_params` does; a step's in a scikit-learn pipeline is
    `step__parameter`. What is not named stays as the estimator has it, and that is tried first.

    >>> from sklearn.linear_model import LogisticRegression
    >>> Candidate("linear", LogisticRegression(), search={"C": log_uniform(0.01, 100)}).declared()
    {'C': 1.0}
    >>> Candidate("linear", LogisticRegression(), search={"c": uniform(0, 1)})
    Traceback (most recent call last):
    tidemill.schemas.errors.DeclarationError: candidate 'linear': LogisticRegression has no parameter 'c'...
    """

    name: str
    estimator: Any
    search: Mapping[str, Space] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,49}", self.name):
            raise DeclarationError(f"candidate {self.name!r}: expected a letter, then letters, digits, - and _")
        if self.name == BASELINE:
            raise DeclarationError(f"candidate {self.name!r}: the name is taken by the simple baseline; choose another")
        if isinstance(self.estimator, type):
            kind = self.estimator.__name__
            raise DeclarationError(f"candidate {self.name!r}: expected an estimator, got the class {kind}: {kind}()")
        known = parameters(self.estimator) if self.search else {}
        for name, space in self.search.items():
            if not isinstance(space, Space):
                raise DeclarationError(
                    f"candidate {self.name!r}: search[{name!r}] is {space!r}; expected uniform, log_uniform, integer or"
                    " choice"
                )
            if name not in known:
                # A pipeline's parameters have their step before them, which is easily left out.
                of_a_step = [each for each in known if each.endswith(f"__{name}")]
                raise DeclarationError(
                    f"candidate {self.name!r}: {type(self.estimator).__name__} has no parameter {name!r}"
                    f"{nearest(of_a_step[0] if of_a_step else name, known)}"
                )

    def declared(self) -> dict[str, Any]:
        """What the searched parameters are as the estimator stands."""
        known = parameters(self.estimator) if self.search else {}
        return {name: known[name] for name in self.search}


def parameters(estimator: Any) -> dict[str, Any]:
    """The estimator's parameters by name: scikit-learn's, with those of parts, or River's."""
    if hasattr(estimator, "get_params"):
        return dict(estimator.get_params(deep=True))
    if hasattr(estimator, "_get_params"):
        return _flat(estimator._get_params())
    return {}


def _flat(nested: Mapping[str, Any]) -> dict[str, Any]:
    """River's parameters, with those of a pipeline's steps named as scikit-learn does."""
    made: dict[str, Any] = {}
    for name, value in nested.items():
        if isinstance(value, Mapping):
            made |= {f"{name}__{inner}": part for inner, part in _flat(value).items()}
        else:
            made[name] = value
    return made


def all_candidates(estimator: Any, more: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The model's own estimator and the others, by different names.

    Raises:
        DeclarationError: two have one name.

    """
    found = (Candidate(DECLARED, estimator), *more)
    names = [candidate.name for candidate in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DeclarationError(
            f"candidates: the name {twice[0]!r} is given twice (Model(estimator) is called {DECLARED!r}); rename one"
        )
    return found
