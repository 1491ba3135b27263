"""The stage that scores features with the model in service."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from tidemill.processors.frames import to_model_frame, to_model_matrix
from tidemill.processors.online_inference.isolation import Failure
from tidemill.processors.online_inference.scorer import Scorer, Scores
from tidemill.processors.online_inference.target import Target
from tidemill.processors.stage import Store
from tidemill.schemas.batch import Batch, Processed, Rejection
from tidemill.schemas.errors import ModelDeadline

SYSTEM_FIELDS = ("event_id", "event_key", "event_time", "source_partition", "source_offset")
PRIOR = "prior"
"""The model version of predictions that were answered by the declared prior, before any model was announced."""


Scored = tuple[Scores, list[Failure]]
Call = Callable[[Callable[[], Scored]], Scored]
"""How a batch is given to a model: returns what the function answers, or raises ModelDeadline when that takes too
long."""


def at_once(score: Callable[[], Scored]) -> Scored:
    """Call it, and wait for as long as it takes."""
    return score()


@dataclass(frozen=True)
class ServedModel:
    """A loaded model, the version by which its predictions name it, and how it is called."""

    version: str
    features: tuple[str, ...]
    scorer: Scorer
    call: Call = at_once


class OnlineInference:
    """Answer every event with the model that `serve` was last given, or with the prior before there is one."""

    name = "online_inference"

    def __init__(self, target: Target) -> None:
        self._target = target
        self._prior = target.prior_row()
        self.model: ServedModel | None = None
        self._schemas: tuple[pa.Schema, pa.Schema] | None = None
        """The features' that came last, and the predictions' for it."""

    def serve(self, model: ServedModel | None) -> None:
        """Use another model from the next batch on."""
        self.model = model

    def prediction_fields(self, features: pa.Schema) -> list[pa.Field]:
        """The columns of P.predictions."""
        system = [features.field(name) for name in SYSTEM_FIELDS]
        scores = [pa.field(name, pa.float64(), nullable=False) for name in self._target.columns()]
        value = pa.field("value", self._target.value_type(), nullable=False)
        return [*system, pa.field("model_version", pa.string(), nullable=False), value, *scores]

    def process(self, batch: Batch) -> Processed:
        """Score the batch; a row that makes the model raise, or for which it answers no finite number, is rejected.

        So is the whole batch if the model does not answer in time.
        """
        if self.model is None:
            return self._without_model(batch)
        model, version = self.model, self.model.version
        takes_matrix = model.scorer.takes_matrix(model.features)
        shown = to_model_matrix(batch.table, model.features) if takes_matrix else None
        if shown is None:
            shown = to_model_frame(batch.table, list(model.features))
        try:
            scores, failures = model.call(lambda: model.scorer.score(shown))
        except ModelDeadline as error:
            return self._none_of(batch, version, "model_deadline", f"{error} (model {version})")
        rejected = tuple(Rejection(f.row, f.reason, f"{f.message} (model {version})") for f in failures)
        good = np.ones(len(batch), dtype=bool)
        good[[f.row for f in failures]] = False
        kept = np.flatnonzero(good)
        accepted = batch.take(kept)
        return Processed(accepted.with_table(self._predictions(accepted, version, scores[kept])), rejected)

    def _without_model(self, batch: Batch) -> Processed:
        if self._prior is None:
            message = (
                "expected a model announced on the models topic, got none yet; run `tidemill train`, or declare a prior"
            )
            return self._none_of(batch, PRIOR, "no_model", message)
        value, shares = self._prior
        scores = np.tile(np.array(shares or [value], dtype=np.float64), (len(batch), 1))
        return Processed(batch.with_table(self._predictions(batch, PRIOR, scores)))

    def _none_of(self, batch: Batch, version: str, reason: str, message: str) -> Processed:
        """Every row rejected for the same reason."""
        empty = batch.take(np.empty(0, dtype=np.int64))
        scores = np.empty((0, len(self._target.classes) or 1))
        rejected = tuple(Rejection(row, reason, message) for row in range(len(batch)))
        return Processed(empty.with_table(self._predictions(empty, version, scores)), rejected)

    def _predictions(self, batch: Batch, version: str, scores: np.ndarray[Any, np.dtype[np.float64]]) -> pa.Table:
        features = batch.table.schema
        if self._schemas is None or not features.equals(self._schemas[0]):
            self._schemas = features, pa.schema(self.prediction_fields(features))
        columns: list[Any] = [batch.table[name] for name in SYSTEM_FIELDS]
        columns.append(pa.repeat(pa.scalar(version, pa.string()), len(batch)))
        columns += self._target.answers(scores).values()
        return pa.Table.from_arrays(columns, schema=self._schemas[1])

    def stores(self, partition: int) -> Mapping[str, Store]:  # noqa: ARG002
        """It keeps no state per key."""
        return {}

    def clock(self, partition: int) -> dict[str, int]:  # noqa: ARG002
        """It keeps no time."""
        return {}

    def restore_clock(self, partition: int, clock: Mapping[str, int]) -> None:
        """There is nothing to put back."""

    def drop(self, partition: int) -> None:
        """There is nothing to forget."""
