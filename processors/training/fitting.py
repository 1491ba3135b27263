"""Fitting a fresh copy of an estimator: of scikit-learn's interface or River's, with weights and a seed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tidemill.schemas.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd


def copy_of(estimator: Any, params: Mapping[str, Any] | None = None, seed: int | None = None) -> Any:
    """A fresh, unfitted copy with these parameters.

    Where a scikit-learn estimator or a part of it has a `random_state` that says nothing, it gets the `seed`: the
    same rows then give the same model.

    >>> from sklearn.ensemble import RandomForestClassifier
    >>> model = copy_of(RandomForestClassifier(), {"max_depth": 3}, seed=7)
    >>> model.max_depth, model.random_state
    (3, 7)
    """
    from sklearn.base import clone

    given = dict(params or {})
    if hasattr(estimator, "learn_one"):
        return estimator.clone(_nested(given)) if given else estimator.clone()
    model = clone(estimator)
    if given:
        model.set_params(**{name: clone(value, safe=False) for name, value in given.items()})
    if seed is not None and hasattr(model, "get_params"):
        unset = [
            name
            for name, value in model.get_params(deep=True).items()
            if value is None and (name == "random_state" or name.endswith("__random_state"))
        ]
        model.set_params(**dict.fromkeys(unset, seed))
    return model


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of steps (`step__name`) as River's `clone` takes them."""
    made: dict[str, Any] = {}
    for name, value in flat.items():
        *steps, last = name.split("__")
        place = made
        for step in steps:
            place = place.setdefault(step, {})
        place[last] = value
    return made


def fitted(model: Any, frame: "pd.DataFrame", labels: NDArray[Any], weights: NDArray[Any] | None = None) -> Any:
    """The model once it has seen the rows: all at once, or one by one in their order if it learns so, as River's do.

    Raises:
        ModelError: there are weights, and the model takes none.

    """
    if hasattr(model, "answer_and_learn") and weights is None:
        model = model if model.classes is not None else model.for_classes(np.unique(labels).tolist())
        model.learn_many(frame, labels.tolist())
        return model
    if hasattr(model, "learn_one"):
        for place, (row, label) in enumerate(zip(frame.to_dict(orient="records"), labels.tolist(), strict=True)):
            if weights is None:
                model.learn_one(row, label)
            else:
                _learn_weighted(model, row, label, float(weights[place]))
        return model
    model.fit(frame, labels, **({} if weights is None else _weight_argument(model, weights)))
    return model


def _weight_argument(model: Any, weights: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """A scikit-learn pipeline hands weights to its last step."""
    from sklearn.pipeline import Pipeline
    from sklearn.utils.validation import has_fit_parameter

    name, last = "sample_weight", model
    while isinstance(last, Pipeline):
        step, last = last.steps[-1]
        name = f"{step}__{name}"
    if not has_fit_parameter(last, "sample_weight"):
        raise ModelError(
            f"the rows have weights, and {type(last).__name__} takes none: leave the candidate out, or take a data set"
            " without weights"
        )
    return {name: weights}


def _learn_weighted(model: Any, row: dict[Any, Any], label: Any, weight: float) -> None:
    try:
        model.learn_one(row, label, w=weight)
    except TypeError as error:
        raise ModelError(f"the rows have weights, and {type(model).__name__}.learn_one takes no `w`: {error}") from None
