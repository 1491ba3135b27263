"""One small interface over every kind of model, and the rule that makes a score depend on its row alone."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from tidemill.processors.online_inference.isolation import Failure, Rows, score_rows
from tidemill.processors.online_inference.rowwise import is_rowwise, without_names
from tidemill.processors.online_inference.shortcuts import shortcut
from tidemill.processors.online_inference.target import Target
from tidemill.schemas.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

log = logging.getLogger(__name__)

BLOCK = 1024
"""Rows per call of a model. Matrix libraries choose their order of addition by the matrix's shape, so the same row
could get another last bit in a batch of another size; a model is only ever shown blocks of this many rows, the last
one filled up. Nor may they share a block out among threads: a row's thread would depend on its place."""

SLACK = 1e-3
"""By how much probabilities may fail to add up to 1: some models reckon in single precision."""

Scores = NDArray[np.float64]
"""One row per event: the classes' probabilities in declared order, or one column with the predicted number."""


class Scorer:
    """Scores feature frames with any model that has `predict_proba`, or `predict` to regress, or River's `…_one`.

    Which rows come together never changes a row's score: models are called on blocks of one size and layout, on one
    BLAS thread. A model that raises is asked again with ever smaller parts of the block, so that only the rows that
    make it raise fail.
    """

    def __init__(self, model: Any, target: Target) -> None:
        """Raises ModelError if the model cannot predict the target."""
        self._width = len(target.classes) or 1
        self._named = _Calls.of(model, target)
        # To take a frame apart and compare its columns' names costs scikit-learn more than most models' arithmetic.
        self._names = list(getattr(model, "feature_names_in_", ()))
        bare = without_names(model) if self._names else None
        self._bare = None if bare is None else _Calls.of(bare, target, shortcut)
        # A model that takes one row at a time, or says that it answers each by itself, has no shape to depend on.
        whole = hasattr(model, "predict_proba" if target.classes else "predict")
        self._fill = whole and not getattr(model, "row_by_row", False)
        # Made here, since it knows the libraries that are loaded by now: the model has brought its own.
        self._libraries = ThreadpoolController()

    def takes_matrix(self, features: Sequence[str]) -> bool:
        """Whether the model may be shown these features, if all are numbers, as a matrix instead of a frame."""
        return self._bare is not None and list(features) == self._names

    def score(self, frame: "pd.DataFrame | Scores") -> tuple[Scores, list[Failure]]:
        """Score every row; failed rows hold NaN and are listed. Only what `takes_matrix` is given one."""
        import pandas as pd

        scores = np.full((len(frame), self._width), np.nan)
        failures: list[Failure] = []
        batch, call = self._prepared(frame)

        def attempt(rows: Rows) -> Scores:
            filled = np.concatenate([rows, np.full(BLOCK - len(rows), rows[0])]) if self._fill else rows
            answer = call(_block(batch, filled))
            if answer.shape != (len(filled), self._width):
                raise ModelError(f"expected scores of shape {(len(filled), self._width)}, got {answer.shape}")
            return answer[: len(rows)]

        def missing(rows: Rows) -> NDArray[np.bool_] | None:
            cells = batch.iloc[rows].to_numpy() if isinstance(batch, pd.DataFrame) else batch[rows]
            return np.asarray(pd.isna(cells)) if isinstance(cells, np.ndarray) else None

        with self._libraries.limit(limits=1, user_api="blas"):
            for start in range(0, len(frame), BLOCK):
                score_rows(attempt, np.arange(start, min(start + BLOCK, len(frame))), missing, scores, failures)
        failed = {failure.row for failure in failures}
        for row in np.flatnonzero(~np.isfinite(scores).all(axis=1)):
            if int(row) not in failed:
                answer = ", ".join(f"{value:g}" for value in scores[row])
                failures.append(
                    Failure(int(row), "model_not_finite", f"expected finite scores from the model, got {answer}")
                )
        failures += self._no_probabilities(scores)
        return scores, sorted(failures, key=lambda failure: failure.row)

    def _no_probabilities(self, scores: Scores) -> list[Failure]:
        """Rows whose finite scores are no shares of 1, which would make nonsense of what models are compared by."""
        if self._width == 1:
            return []
        known = np.flatnonzero(np.isfinite(scores).all(axis=1))
        off = (scores[known].min(axis=1, initial=0.0) < -SLACK) | (np.abs(scores[known].sum(axis=1) - 1) > SLACK)
        said = "expected probabilities from the model that add up to 1, got "
        made = []
        for row in known[off]:
            made.append(
                Failure(int(row), "model_not_probabilities", said + ", ".join(f"{value:g}" for value in scores[row]))
            )
            scores[row] = np.nan
        return made

    def _prepared(self, frame: "pd.DataFrame | Scores") -> tuple[Any, Callable[[Any], Scores]]:
        """What the blocks are cut from, and what is called on them."""
        import pandas as pd

        calls, batch = self._named, frame
        if isinstance(frame, pd.DataFrame) and self.takes_matrix(frame.columns) and (frame.dtypes == np.float64).all():
            batch = frame.to_numpy()
        if isinstance(batch, np.ndarray):
            assert self._bare is not None, "this model is to be shown frames"
            calls = self._bare
        if calls.transform is not None and len(frame):
            try:
                return calls.transform(batch), calls.final
            except Exception as error:  # noqa: BLE001 - some row spoils it; the whole model finds out which, by blocks
                log.debug("transforming the batch at once failed: %s", error)
        return batch, calls.whole


@dataclass(frozen=True)
class _Calls:
    """How a model is called: as a whole; and where its beginning treats each cell by itself, in two steps."""

    whole: Callable[[Any], Scores]
    transform: Callable[[Any], Any] | None
    final: Callable[[Any], Scores]

    @staticmethod
    def of(model: Any, target: Target, quick: Callable[[Any], Any] = lambda part: part) -> "_Calls":
        """`quick` gives what is called in place of a part."""
        from sklearn.pipeline import Pipeline

        if isinstance(model, Pipeline) and len(model.steps) > 1 and is_rowwise(model[:-1]):
            transform, final = _transform(model, quick), _adapter(quick(model[-1]), target)
            return _Calls(lambda batch: final(_in_order(transform(batch))), transform, final)
        whole = _adapter(quick(model), target)
        return _Calls(whole, None, whole)


def _transform(model: "Pipeline", quick: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """All but the last step of a pipeline."""
    parts = [quick(part) for _, part in model.steps[:-1]]
    if any(part is before for part, (_, before) in zip(parts, model.steps, strict=False)):
        whole: Callable[[Any], Any] = model[:-1].transform
        return whole
    return lambda rows: reduce(lambda made, part: part.transform(made), parts, rows)


def _block(batch: Any, rows: Rows) -> Any:
    """These rows in one memory layout and with a fresh index: where a row stood in the batch is not the model's to see.

    Columns are taken one by one, since pandas lays a taken block out by rows or by columns as its shape has it. They
    keep their type: pandas would make another one of text, in which null is NaN, a category that no model was shown.
    """
    import pandas as pd

    if isinstance(batch, pd.DataFrame):
        columns = {name: (column.array.take(rows), column.dtype) for name, column in batch.items()}
        return pd.DataFrame({name: pd.Series(values, dtype=kind) for name, (values, kind) in columns.items()})
    return _in_order(batch[rows])


def _in_order(values: Any) -> Any:
    """Rows that stand one after the other: from columns, matrix libraries add up in another order."""
    return np.ascontiguousarray(values) if isinstance(values, np.ndarray) else values


def _adapter(model: Any, target: Target) -> "Callable[[pd.DataFrame], Scores]":
    if target.classes and hasattr(model, "predict_proba"):
        return _probabilities(model, target.classes)
    if not target.classes and hasattr(model, "predict"):
        return lambda frame: np.asarray(model.predict(frame), dtype=np.float64).reshape(-1, 1)
    if hasattr(model, "predict_proba_one" if target.classes else "predict_one"):
        one = score_one(model, target)
        return lambda frame: np.array([one(row) for row in rows_of(frame)], dtype=np.float64)
    wanted = "predict_proba or predict_proba_one" if target.classes else "predict or predict_one"
    raise ModelError(f"expected a model with {wanted}, got {type(model).__name__}")


def _probabilities(model: Any, classes: Sequence[Any]) -> "Callable[[pd.DataFrame], Scores]":
    learnt = np.asarray(getattr(model, "classes_", classes), dtype=object).tolist()
    _require_known(learnt, classes)
    columns = [list(classes).index(label) for label in learnt]

    def call(frame: "pd.DataFrame") -> Scores:
        answer = np.asarray(model.predict_proba(frame), dtype=np.float64)
        if columns == list(range(len(classes))):
            return answer
        scores = np.zeros((len(answer), len(classes)))
        scores[:, columns] = answer
        return scores

    return call


def score_one(model: Any, target: Target) -> Callable[[dict[Any, Any]], list[float]]:
    """How River's models answer one row: the classes' probabilities in declared order, or the predicted number."""
    if target.classes:
        return lambda row: _by_class(model.predict_proba_one(row), target.classes)
    return lambda row: [model.predict_one(row)]


def _by_class(answer: dict[Any, float], classes: Sequence[Any]) -> list[float]:
    """River leaves out classes that it has not met; before the first one it knows nothing, so all are alike."""
    if not answer:
        return [1 / len(classes)] * len(classes)
    _require_known(list(answer), classes)
    return [float(answer.get(label, 0.0)) for label in classes]


def _require_known(learnt: Sequence[Any], classes: Sequence[Any]) -> None:
    unknown = [label for label in learnt if label not in classes]
    if unknown:
        raise ModelError(
            f"the model was trained on classes that the pipeline does not declare: {unknown}; declared: {list(classes)}"
        )


def rows_of(frame: "pd.DataFrame") -> list[dict[Any, Any]]:
    """A frame's rows as River's models take them."""
    records: list[dict[Any, Any]] = frame.to_dict(orient="records")
    return records
