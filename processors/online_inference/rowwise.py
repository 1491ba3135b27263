"""What is known of scikit-learn's parts, so that what they check on every call is checked once."""

from copy import copy
from typing import Any

ROWWISE = frozenset(
    f"sklearn.{name}"
    for name in (
        "compose._column_transformer.ColumnTransformer",
        "impute._base.MissingIndicator",
        "impute._base.SimpleImputer",
        "pipeline.Pipeline",
        "preprocessing._data.Binarizer",
        "preprocessing._data.MaxAbsScaler",
        "preprocessing._data.MinMaxScaler",
        "preprocessing._data.RobustScaler",
        "preprocessing._data.StandardScaler",
        "preprocessing._encoders.OneHotEncoder",
        "preprocessing._encoders.OrdinalEncoder",
    )
)
"""Transformers that compute each cell by itself: no sum over columns, so no order of addition for a shape to change.
They are most of a pipeline's cost, nearly all of it per call, so they see the whole batch at once."""

_BY_NAME = "sklearn.compose._column_transformer.ColumnTransformer"


_PLAIN = tuple(
    f"sklearn.{name}"
    for name in (
        "dummy",
        "ensemble._forest",
        "ensemble._hist_gradient_boosting.gradient_boosting",
        "linear_model.",
        "naive_bayes",
        "neighbors.",
        "neural_network.",
        "svm.",
        "tree.",
    )
)
"""Estimators that make an array of what they are given, and ask no other estimator that might want names."""


def is_rowwise(model: Any) -> bool:
    """Whether a transformer, with all that it consists of, is known to compute each cell by itself."""
    if isinstance(model, str):
        return model in ("passthrough", "drop")
    parts = [part for _, part, *_ in getattr(model, "transformers_", getattr(model, "steps", []))]
    return _name(model) in ROWWISE and all(map(is_rowwise, parts))


def without_names(model: Any) -> Any | None:
    """A copy of a fitted model that takes arrays, its columns in the order in which it was fitted.

    None where a part might choose columns by their names: then frames are what it has to be given.
    """
    from sklearn.pipeline import Pipeline

    if isinstance(model, Pipeline):
        *transforms, (name, final) = model.steps
        if not all(_name(part) in ROWWISE - {_BY_NAME} for _, part in transforms):
            return None
        parts = [*((name, without_names(part)) for name, part in transforms), (name, without_names(final))]
        if any(part is None for _, part in parts):
            return None
        bare = copy(model)
        bare.steps = parts
        return bare
    if _name(model) not in ROWWISE - {_BY_NAME} and not type(model).__module__.startswith(_PLAIN):
        return None
    bare = copy(model)
    vars(bare).pop("feature_names_in_", None)
    return bare


def _name(model: Any) -> str:
    return f"{type(model).__module__}.{type(model).__name__}"
