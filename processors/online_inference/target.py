"""What a model predicts, as declared: it fixes the columns of P.predictions before the first model exists."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.schemas.errors import DeclarationError

ClassLabel = bool | int | str


@dataclass(frozen=True)
class Target:
    """A class out of `classes`, or a number when there are none (regression).

    `prior` is what to answer before the first model is announced: the probability of each class (for two classes,
    that of the second is enough), or a number. Without it, events that come before the first model are rejected as
    `no_model`.

    >>> Target((False, True), prior=0.25).columns()
    ('probability_false', 'probability_true')
    >>> Target((False, True), prior=0.25).prior_row()
    (False, [0.75, 0.25])
    """

    classes: tuple[ClassLabel, ...] = ()
    prior: float | Mapping[Any, float] | None = None

    def __post_init__(self) -> None:
        if len(self.classes) == 1 or len(set(self.columns())) != len(self.classes):
            raise DeclarationError(
                f"expected no classes (regression) or two and more with different names, got {self.classes}"
            )
        kinds = {type(label) for label in self.classes}
        if len(kinds) > 1 or not kinds <= {bool, int, str}:
            raise DeclarationError(f"expected classes that are all booleans, integers or text, got {self.classes}")
        if self.prior is not None:
            self.prior_row()

    def columns(self) -> tuple[str, ...]:
        """The prediction's probability fields, one for each class."""
        return tuple("probability_" + re.sub(r"\W", "_", str(label).lower(), flags=re.ASCII) for label in self.classes)

    def value_type(self) -> pa.DataType:
        """The type of the predicted value."""
        if not self.classes:
            return pa.float64()
        return {bool: pa.bool_(), int: pa.int64(), str: pa.string()}[type(self.classes[0])]

    def answers(self, scores: NDArray[np.float64]) -> dict[str, pa.Array]:
        """The columns of P.predictions that scores make: the value, and each class's probability.

        >>> columns = Target((False, True)).answers(np.array([[0.25, 0.75]]))
        >>> {name: column.to_pylist() for name, column in columns.items()}
        {'value': [True], 'probability_false': [0.25], 'probability_true': [0.75]}
        """
        if not self.classes:
            return {"value": pa.array(scores[:, 0])}
        labels = pa.array(self.classes, self.value_type())
        columns = {name: pa.array(scores[:, place]) for place, name in enumerate(self.columns())}
        return {"value": labels.take(pa.array(scores.argmax(axis=1))), **columns}

    def prior_row(self) -> tuple[Any, list[float]] | None:
        """The declared answer before the first model: the value and each class's probability."""
        if self.prior is None:
            return None
        if not self.classes:
            if isinstance(self.prior, Mapping) or not math.isfinite(self.prior):
                raise DeclarationError(f"a regression's prior is a finite number, got {self.prior}")
            return float(self.prior), []
        if isinstance(self.prior, Mapping):
            unknown = [label for label in self.prior if label not in self.classes]
            if unknown:
                raise DeclarationError(f"the prior has classes that are not declared: {unknown}; known: {self.classes}")
            shares = [float(self.prior.get(label, 0.0)) for label in self.classes]
        elif len(self.classes) == 2:
            shares = [1.0 - self.prior, float(self.prior)]
        else:
            raise DeclarationError(f"with {len(self.classes)} classes the prior is a mapping of class to probability")
        if not (min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-9):
            raise DeclarationError(f"the prior's probabilities must be at least 0 and add up to 1, got {shares}")
        return self.classes[shares.index(max(shares))], shares
