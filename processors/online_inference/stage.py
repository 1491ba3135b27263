"""The stage that scores features with the model in service, and with those that are to show that they are better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.online_inference.answers import (
    Answers,
    Call,
    Scored,
    ServedModel,
    Shown,
    ask,
    at_once,
    nothing,
)
from tidemill.processors.online_inference.beside import SHADOW_PREDICTIONS, Part, beside, beside_fields
from tidemill.processors.online_inference.scorer import Scores
from tidemill.processors.online_inference.share import in_share
from tidemill.processors.online_inference.target import Target
from tidemill.processors.stage import Store
from tidemill.schemas.batch import Batch, Processed, Rejection

__all__ = [
    "PRIOR",
    "SHADOW_PREDICTIONS",
    "SYSTEM_FIELDS",
    "Call",
    "Challenger",
    "OnlineInference",
    "Scored",
    "ServedModel",
    "at_once",
]
SYSTEM_FIELDS = ("event_id", "event_key", "event_time", "source_partition", "source_offset")
PRIOR = "prior"
"""The model version of predictions that were answered by the declared prior, before any model was announced."""


@dataclass(frozen=True)
class Challenger:
    """A model that is scored beside the champion; with a `share`, a canary that answers that share of the keys.

    `stage` is the place in the rollout log of the record that gave it this role: its rows carry it.
    """

    model: ServedModel
    stage: int
    share: float = 0.0


class OnlineInference:
    """Answer every event with the model that `serve` was last given, or with the prior before there is one.

    Challengers are shown the same rows. What they answer goes to P.shadow-predictions; the canary's share of the keys
    is answered by the canary, and there the champion's answer goes to P.shadow-predictions instead. A challenger that
    fails spoils nothing: the champion's answer is used.
    """

    name = "online_inference"

    def __init__(self, target: Target) -> None:
        self._target = target
        self._width = len(target.classes) or 1
        self._prior = target.prior_row()
        self.model: ServedModel | None = None
        self.challengers: tuple[Challenger, ...] = ()
        self._schemas: tuple[pa.Schema, pa.Schema] | None = None
        """The features' that came last, and the predictions' for it."""

    def serve(self, model: ServedModel | None, challengers: Sequence[Challenger] = ()) -> None:
        """Use other models from the next batch on; one of the challengers may have a share."""
        self.model, self.challengers = model, tuple(challengers)

    def prediction_fields(self, features: pa.Schema) -> list[pa.Field]:
        """The columns of P.predictions."""
        system = [features.field(name) for name in SYSTEM_FIELDS]
        scores = [pa.field(name, pa.float64(), nullable=False) for name in self._target.columns()]
        value = pa.field("value", self._target.value_type(), nullable=False)
        return [*system, pa.field("model_version", pa.string(), nullable=False), value, *scores]

    def shadow_fields(self, features: pa.Schema) -> list[pa.Field]:
        """The columns of P.shadow-predictions."""
        return beside_fields([features.field(name) for name in SYSTEM_FIELDS], self._target)

    def process(self, batch: Batch) -> Processed:
        """Score the batch; a row that makes the model raise, or for which it answers no finite number, is rejected.

        So is the whole batch if the model does not answer in time.
        """
        shown = Shown(batch.table, shared=bool(self.challengers))
        answers = self._answers(batch, shown)
        if not self.challengers:
            return self._processed(batch, answers, [answers.version], answers.good)
        others = [ask(challenger.model, shown, len(batch), self._width) for challenger in self.challengers]
        by_canary, versions = np.zeros(len(batch), dtype=bool), [answers.version]
        served = answers
        for challenger, other in zip(self.challengers, others, strict=True):
            if challenger.share > 0:
                keys, ids = batch.table["event_key"], batch.table["event_id"]
                by_canary = in_share(keys, ids, other.version, challenger.share) & other.good
                served = replace(answers, scores=np.where(by_canary[:, None], other.scores, answers.scores))
                versions.append(other.version)
        told = self._told_beside(batch, answers, others, by_canary)
        processed = self._processed(batch, served, versions, answers.good | by_canary, by_canary)
        return replace(processed, beside={SHADOW_PREDICTIONS: told} if len(told) else {})

    def _told_beside(
        self, batch: Batch, answers: Answers, others: Sequence[Answers], by_canary: NDArray[np.bool_]
    ) -> Batch:
        """What subscribers do not get: the champion's answers where the canary's counts, its failures, and the rest."""
        parts = []
        for challenger, other in zip(self.challengers, others, strict=True):
            canary = challenger.share > 0
            rows = np.flatnonzero(~by_canary) if canary else np.arange(len(batch))
            parts.append(Part("canary" if canary else "shadow", challenger.stage, other, rows))
        if self.model is not None or self._prior is not None:
            newest = max(challenger.stage for challenger in self.challengers)
            stage = next((challenger.stage for challenger in self.challengers if challenger.share > 0), newest)
            parts = [
                Part("champion", stage, answers, np.flatnonzero(by_canary)),
                Part("champion", newest, answers, np.flatnonzero(~by_canary & ~answers.good)),
                *parts,
            ]
        schema = pa.schema(self.shadow_fields(batch.table.schema))
        return beside(batch, schema, self._target, parts)

    def _answers(self, batch: Batch, shown: Shown) -> Answers:
        """Of the champion, or of the prior."""
        if self.model is not None:
            return ask(self.model, shown, len(batch), self._width)
        if self._prior is None:
            message = (
                "expected a model announced on the models topic, got none yet; run `tidemill train`, or declare a prior"
            )
            return nothing(PRIOR, len(batch), self._width, "no_model", message)
        value, shares = self._prior
        return Answers(PRIOR, np.tile(np.array(shares or [value], dtype=np.float64), (len(batch), 1)))

    def _processed(
        self,
        batch: Batch,
        answers: Answers,
        versions: Sequence[str],
        given: NDArray[np.bool_],
        which: NDArray[np.bool_] | None = None,
    ) -> Processed:
        """The rows that are `given` an answer as predictions, the others rejected; `which` of two versions answered."""
        kept = np.flatnonzero(given)
        accepted = batch.take(kept)
        if len(versions) == 1 or which is None:
            version = pa.repeat(pa.scalar(versions[0], pa.string()), len(kept))
        else:
            version = pa.array(versions, pa.string()).take(pa.array(which[kept].astype(np.int64)))
        rejected = tuple(Rejection(row, *answers.failures[row]) for row in sorted(answers.failures) if not given[row])
        return Processed(accepted.with_table(self._predictions(accepted, version, answers.scores[kept])), rejected)

    def _predictions(self, batch: Batch, version: pa.Array, scores: Scores) -> pa.Table:
        features = batch.table.schema
        if self._schemas is None or not features.equals(self._schemas[0]):
            self._schemas = features, pa.schema(self.prediction_fields(features))
        columns: list[Any] = [batch.table[name] for name in SYSTEM_FIELDS]
        columns.append(version)
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
