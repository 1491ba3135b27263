"""The batch models that stand beside the forest, and how one is fitted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import ThreadpoolController

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

Predictor = Callable[[_Floats], _Floats]
"""From rows (n × features) to probabilities (n × classes)."""


@dataclass(frozen=True)
class Estimator:
    """A place in the portfolio: `make` gives a fresh scikit-learn classifier.

    With `recent` it is fitted on the newest rows, or on those since a change; else on the whole history.
    """

    name: str
    make: Callable[[], Any]
    recent: bool


def boosted_trees() -> Any:
    """Gradient boosted trees, small enough to be fitted in a second."""
    return HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=15, early_stopping=False, random_state=0
    )


def logistic() -> Any:
    """A logistic regression on standardised features."""
    return make_pipeline(StandardScaler(), LogisticRegression(max_iter=200))


ESTIMATORS = (
    Estimator("history", boosted_trees, recent=False),
    Estimator("recent", boosted_trees, recent=True),
    Estimator("linear", logistic, recent=True),
)
"""The default portfolio beside the forest."""


def fit(estimator: Estimator, rows: _Floats, labels: _Integers, classes: int) -> Predictor:
    """Fit a fresh classifier. Classes that are not among the labels have the probability 0."""
    known = np.unique(labels)
    if len(known) == 1:
        certain = np.eye(classes)[known[0]]
        return lambda asked: np.tile(certain, (len(asked), 1))
    # Threads that wait for each other are slower than one, as soon as the cores have other work.
    threads = ThreadpoolController()
    with threads.limit(limits=1):
        model = estimator.make().fit(rows, labels)

    def predict(asked: _Floats) -> _Floats:
        answers = np.zeros((len(asked), classes))
        with threads.limit(limits=1):
            answers[:, model.classes_] = model.predict_proba(asked)
        return answers

    return predict
