"""Fitted batch models as arrays: quick for one row, the same for a row wherever it stands, stored without code."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation import fitted_kernel
from tidemill.schemas.errors import ModelError

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]

_TREES = {
    "feature": np.int32,
    "threshold": np.float64,
    "left": np.int32,
    "right": np.int32,
    "missing_left": np.uint8,
    "value": np.float64,
    "roots": np.int32,
    "base": np.float64,
}
_LINEAR = {"mean": np.float64, "scale": np.float64, "weights": np.float64, "base": np.float64}


class Fitted:
    """A fitted model of one kind: "trees", "linear", or "certain", which knows one class.

    Called with rows (n × features, NaN where missing) it gives probabilities (n × `width`); classes that were not
    among the labels have the probability 0. `arrays` is all that it consists of.
    """

    def __init__(self, kind: str, width: int, features: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Raises ModelError for arrays that no fit makes: compiled loops trust what they are given."""
        self.kind, self.width, self.features = kind, width, features
        self.arrays: Arrays = dict(arrays)
        if not self._is_sound():
            raise ModelError(f"a stored {kind} model is not one that a fit makes: it was altered")

    def __call__(self, rows: _Floats) -> _Floats:
        """Answer rows."""
        answers = np.zeros((len(rows), self.width))
        own = self.arrays
        if self.kind == "trees":
            fitted_kernel.trees(rows, *(own[name] for name in _TREES), own["classes"], answers)
        elif self.kind == "linear":
            fitted_kernel.linear(rows, *(own[name] for name in _LINEAR), own["classes"], answers)
        else:
            answers[:, own["classes"][0]] = 1.0
        return answers

    def _is_sound(self) -> bool:
        kinds: dict[str, dict[str, Any]] = {"trees": _TREES, "linear": _LINEAR, "certain": {}}
        own = self.arrays
        expected = {**kinds.get(self.kind, {}), "classes": np.int64}
        if self.kind not in kinds or {name: array.dtype for name, array in own.items()} != {
            name: np.dtype(kind) for name, kind in expected.items()
        }:
            return False
        classes = own["classes"]
        if not (classes.ndim == 1 and 1 <= len(classes) <= self.width and _below(classes, self.width)):
            return False
        if self.kind == "certain":
            return len(classes) == 1
        scores = 1 if len(classes) == 2 else len(classes)
        if len(classes) == 1 or own["base"].shape != (scores,):
            return False
        if self.kind == "linear":
            wide = (self.features,)
            return own["mean"].shape == own["scale"].shape == wide and own["weights"].shape == (scores, *wide)
        nodes = own["feature"].shape
        if len(nodes) != 1 or any(own[name].shape != nodes for name in list(_TREES)[:6]):
            return False
        inner = own["left"] >= 0
        places = np.arange(nodes[0])
        # Children come after their parents, so that every way through a tree ends.
        return bool(
            own["roots"].ndim == 2
            and own["roots"].shape[1] == scores
            and _below(own["roots"], nodes[0])
            and _below(own["feature"][inner], self.features)
            and all((own[side][inner] > places[inner]).all() for side in ("left", "right"))
            and all(_below(own[side][inner], nodes[0]) for side in ("left", "right"))
        )


def _below(numbers: NDArray[Any], limit: int) -> bool:
    return bool(((numbers >= 0) & (numbers < limit)).all())


def boosted(model: Any, width: int) -> Fitted:
    """Of scikit-learn's HistGradientBoostingClassifier, which keeps its trees in records."""
    trees = [tree.nodes for stage in model._predictors for tree in stage]
    sizes = np.array([len(nodes) for nodes in trees])
    begin = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    nodes, offset = np.concatenate(trees), np.repeat(begin, sizes)
    leaf = nodes["is_leaf"].astype(bool)
    arrays: Arrays = {
        "feature": nodes["feature_idx"].astype(np.int32),
        "threshold": nodes["num_threshold"].astype(np.float64),
        "left": np.where(leaf, -1, nodes["left"].astype(np.int64) + offset).astype(np.int32),
        "right": np.where(leaf, -1, nodes["right"].astype(np.int64) + offset).astype(np.int32),
        "missing_left": nodes["missing_go_to_left"].astype(np.uint8),
        "value": nodes["value"].astype(np.float64),
        "roots": begin.reshape(len(model._predictors), -1).astype(np.int32),
        "base": np.asarray(model._baseline_prediction, np.float64).reshape(-1),
        "classes": np.asarray(model.classes_, np.int64),
    }
    return Fitted("trees", width, model.n_features_in_, arrays)


def weighed(model: Any, mean: _Floats, scale: _Floats, width: int) -> Fitted:
    """Of scikit-learn's LogisticRegression on features standardised so."""
    arrays: Arrays = {
        "mean": mean,
        "scale": scale,
        "weights": np.ascontiguousarray(model.coef_, np.float64),
        "base": np.asarray(model.intercept_, np.float64),
        "classes": np.asarray(model.classes_, np.int64),
    }
    return Fitted("linear", width, len(mean), arrays)


def certain(label: int, width: int, features: int) -> Fitted:
    """Of rows that have all one class."""
    return Fitted("certain", width, features, {"classes": np.array([label], np.int64)})
