"""What one model says to each event of a batch: scores, or why there are none."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.frames import to_model_frame, to_model_matrix
from tidemill.processors.online_inference.isolation import Failure, said
from tidemill.processors.online_inference.scorer import Scorer, Scores
from tidemill.schemas.errors import ModelDeadline

if TYPE_CHECKING:
    import pandas as pd

Scored = tuple[Scores, list[Failure]]
Call = Callable[[Callable[[], Scored]], Scored]
"""How a batch is given to a model: returns what the function answers, or raises ModelDeadline when that takes too
long."""
REFUSED = "model_refused"


def at_once(score: Callable[[], Scored]) -> Scored:
    """Call it, and wait for as long as it takes."""
    return score()


@dataclass(frozen=True)
class ServedModel:
    """A loaded model, the version by which its predictions name it, and how it is called.

    A challenger that could not be loaded has no scorer, and a `fault` that says why.
    """

    version: str
    features: tuple[str, ...]
    scorer: Scorer | None
    call: Call = at_once
    fault: str = ""


@dataclass(frozen=True)
class Answers:
    """By row: scores, and by the rows that have none, the reason code and a sentence."""

    version: str
    scores: Scores
    failures: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def good(self) -> NDArray[np.bool_]:
        """Which rows have scores."""
        found = np.ones(len(self.scores), dtype=bool)
        found[list(self.failures)] = False
        return found


def nothing(version: str, rows: int, width: int, reason: str, message: str) -> Answers:
    """No answer to any row, for one reason."""
    return Answers(version, np.full((rows, width), np.nan), dict.fromkeys(range(rows), (reason, message)))


class Shown:
    """A batch's features as models are shown them, made once for all that take the same.

    Where several models are asked, none can alter what another one sees: each has a frame of its own, and a matrix
    cannot be written to.
    """

    def __init__(self, table: pa.Table, *, shared: bool = False) -> None:
        self._table, self._shared = table, shared
        self._made: dict[tuple[tuple[str, ...], bool], Any] = {}

    def to(self, model: ServedModel) -> "pd.DataFrame | Scores":
        """As a matrix if the model takes it and all are numbers, else as a frame."""
        assert model.scorer is not None
        matrix = model.scorer.takes_matrix(model.features)
        key = model.features, matrix
        if key not in self._made:
            shown = to_model_matrix(self._table, model.features) if matrix else None
            self._made[key] = to_model_frame(self._table, list(model.features)) if shown is None else shown
            if shown is not None:
                shown.setflags(write=False)
        made = self._made[key]
        return made.copy() if self._shared and not isinstance(made, np.ndarray) else made


def ask(model: ServedModel, shown: Shown, rows: int, width: int) -> Answers:
    """A model's answers to all rows; none at all if it does not come back in time, or something of it raises."""
    if model.scorer is None:
        return nothing(model.version, rows, width, REFUSED, f"{model.fault} (model {model.version})")
    scorer = model.scorer
    try:
        batch = shown.to(model)
        scores, failures = model.call(lambda: scorer.score(batch))
    except ModelDeadline as error:
        return nothing(model.version, rows, width, "model_deadline", f"{error} (model {model.version})")
    except Exception as error:  # noqa: BLE001 - a model is foreign code, and a worker that ends is started with it again
        return nothing(model.version, rows, width, "model_raised", f"{said(error)} (model {model.version})")
    told = {f.row: (f.reason, f"{f.message} (model {model.version})") for f in failures}
    return Answers(model.version, scores, told)
