"""The batch models that stand beside the forest, and how one is fitted."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation.fitted import Fitted, boosted, certain, weighed

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
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(
        max_iter=60, learning_rate=0.1, max_leaf_nodes=15, early_stopping=False, random_state=0
    )


def logistic() -> Any:
    """A logistic regression; `fit` shows it standardised features."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=200)


ESTIMATORS = (
    Estimator("history", boosted_trees, recent=False),
    Estimator("recent", boosted_trees, recent=True),
    Estimator("linear", logistic, recent=True),
)
"""The default portfolio beside the forest."""


def fit(estimator: Estimator, rows: _Floats, labels: _Integers, classes: int) -> Fitted:
    """Fit a fresh classifier. Classes that are not among the labels have the probability 0; NaN is a missing value."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import ThreadpoolController

    known = np.unique(labels)
    if len(known) == 1:
        return certain(int(known[0]), classes, rows.shape[1])
    # Threads that wait for each other are slower than one, as soon as the cores have other work.
    with ThreadpoolController().limit(limits=1):
        model = estimator.make()
        if isinstance(model, LogisticRegression):
            mean, scale = _spread(rows)
            shown = np.nan_to_num((rows - mean) / scale, nan=0.0)
            with warnings.catch_warnings():
                # It is as good as it gets in so many steps; whether that is good enough is found out on new labels.
                warnings.simplefilter("ignore", ConvergenceWarning)
                return weighed(model.fit(shown, labels), mean, scale, classes)
        # Of a column without any value nothing can be learnt; scikit-learn would look for its bins.
        return boosted(model.fit(np.where(np.isnan(rows).all(axis=0), 0.0, rows), labels), classes)


def _spread(rows: _Floats) -> tuple[_Floats, _Floats]:
    """Mean and standard deviation of each column's known values; 0 and 1 where there is none, or but one."""
    known = ~np.isnan(rows)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, rows, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, rows - mean, 0.0) ** 2).sum(axis=0) / count)
    return mean, np.where(spread > 1e-12 * np.abs(mean), spread, 1.0)
