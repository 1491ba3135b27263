"""A model that learns in the stream: outcomes in, in the order in which they became known; versions out.

Each block of outcomes is answered before it is learned, so that a version is measured on rows that were new to it
(test-then-train: Gama, Sebastião and Rodrigues 2013, On evaluating stream learning algorithms). After a version is
accepted the learner goes on with the model as that was stored: one that starts again from there learns the same bits.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.processors.frames import to_model_frame
from tidemill.processors.learning import Learning, for_classes
from tidemill.processors.online_inference.artefact import Artefact, dump_model, load_model
from tidemill.processors.online_inference.checked_pickle import dump_repeatably
from tidemill.processors.online_inference.scorer import rows_of, score_one
from tidemill.processors.online_inference.target import Target
from tidemill.processors.training.arrivals import KNOWN, OFFSET, PARTITION
from tidemill.processors.training.fit import base_rates, class_metrics
from tidemill.schemas.errors import ModelError

if TYPE_CHECKING:
    import pandas as pd

LABEL = "label"
Ranges = dict[int, tuple[int, int]]
"""By partition of P.outcomes the first and the last offset, both included."""


@dataclass(frozen=True)
class Version:
    """A model as it stands after some outcomes, stored, and how it did on the newest of them before it learned them.

    `metrics` are those of `evaluate`, on the `evaluation_rows` since the version before was due; `base_*` is the best
    constant answer to these very rows. `skipped` counts outcomes that it could not learn from.
    """

    artefact: Artefact
    offsets: Ranges
    training_rows: int
    evaluation_rows: int
    metrics: dict[str, float]
    trained_from: datetime | None
    trained_until: datetime | None
    skipped: int
    done: str = ""
    """What a model that adapts did since the version before, as a phrase."""


@dataclass
class _Progress:
    """What a version says of what it was trained on."""

    offsets: Ranges = field(default_factory=dict)
    rows: int = 0
    first: datetime | None = None
    last: datetime | None = None


class Learner:
    """Learns outcomes in columns; after `take` has returned a version, `accept` it or go on."""

    def __init__(
        self, estimator: Any, features: Sequence[str], names: Sequence[str], target: Target, learning: Learning
    ) -> None:
        """`features` are the model's, `names` what outcomes call them.

        Raises:
            ModelError: two fresh copies of the estimator differ, by a random seed of their own: it would not learn
                the same again.

        """
        self._features, self._names = [sys.intern(name) for name in features], list(names)
        self._target, self._learning = target, learning
        estimator = for_classes(estimator, target.classes)
        self._fresh = dump_model(estimator.clone())
        if dump_model(estimator.clone()).data != self._fresh.data:
            raise ModelError(
                f"{type(estimator).__name__} draws random numbers from a seed of its own, so that a learner that starts"
                " again would learn something else: give it a seed=..."
            )
        self._progress = _Progress()
        self._rebase(self._fresh)

    def resume(self, artefact: Artefact, announcement: Mapping[str, Any], trusted: Sequence[str] = ()) -> None:
        """Go on from an announced version; raises ModelError if its artefact is altered or not to be trusted."""
        load_model(artefact, announcement["artefact_sha256"], trusted)
        self._progress = _Progress(
            {row["partition"]: (row["first"], row["last"]) for row in announcement["training_offsets"]},
            announcement["training_rows"],
            announcement["trained_from"],
            announcement["trained_until"],
        )
        self._rebase(artefact)

    @property
    def position(self) -> dict[int, int]:
        """By partition the offset of the next outcome to learn; partitions of which none was learned are missing."""
        return {partition: last + 1 for partition, (_, last) in self._progress.offsets.items()}

    def _rebase(self, artefact: Artefact) -> None:
        # Its own bytes: nobody else has to be trusted.
        self.model = load_model(artefact, artefact.sha256, [artefact.sha256])
        self._answer = score_one(self.model, self._target)
        self._block: list[tuple[dict[str, Any], Any]] = []
        self._since = self._skipped = 0
        self._bucket: int | None = None
        self._labels: list[Any] = []
        self._scores: list[list[float]] = []

    def take(self, rows: pa.Table) -> tuple[int, Version | None]:
        """Learn rows of `Arrivals.ready` up to where a version is due.

        Returns how many were learned, and the version if it is due. Numbers and text come as serving shows them.
        """
        count, due = self._until_due(rows)
        chosen = rows.slice(0, count)
        frame = to_model_frame(chosen, self._names).set_axis(self._features, axis="columns")
        labels = chosen[LABEL].to_pylist()
        if hasattr(self.model, "answer_and_learn"):
            self._learn_columns(frame, labels)
            frame, labels = frame.iloc[:0], []
        for row, label in zip(rows_of(frame), labels, strict=True):
            self._block.append((_shared(row), _shared_text(label)))
            if len(self._block) == self._learning.batch:
                self._learn()
        self._note(chosen)
        if not due:
            return count, None
        self._learn()
        return count, self._version()

    def _until_due(self, rows: pa.Table) -> tuple[int, bool]:
        if self._learning.rows is not None:
            count = min(len(rows), self._learning.rows - self._since)
            return count, count == self._learning.rows - self._since
        assert self._learning.span is not None
        buckets = rows[KNOWN].to_numpy() // self._learning.span
        if self._bucket is None:
            self._bucket = int(buckets[0])
        later = np.flatnonzero(buckets != self._bucket)
        return (int(later[0]), True) if len(later) else (len(rows), False)

    def _learn_columns(self, frame: "pd.DataFrame", labels: list[Any]) -> None:
        """Of a model for which blocks change nothing, and a missing value is one like others."""
        good = [place for place, label in enumerate(labels) if label in self._target.classes]
        self._skipped += len(labels) - len(good)
        if good:
            known = [labels[place] for place in good]
            self._scores += self.model.answer_and_learn(frame.iloc[good], known).tolist()
            self._labels += known

    def _learn(self) -> None:
        import pandas as pd

        block, self._block = self._block, []
        good = [(row, label) for row, label in block if self._test(row, label)]
        self._skipped += len(block) - len(good)
        if self._learning.batch > 1:
            if good:
                frame = pd.DataFrame([row for row, _ in good], columns=self._features)
                self.model.learn_many(frame, pd.Series([label for _, label in good]))
            return
        for row, label in good:
            self.model.learn_one(row, label)

    def _test(self, row: dict[str, Any], label: Any) -> bool:
        """Answer the row; whether it can be learned: one that serving would reject must not spoil the model."""
        if self._target.classes and label not in self._target.classes:
            return False
        if not self._learnt and any(value is None or value != value for value in row.values()):
            return False
        try:
            scores = self._answer(dict(row))
        except Exception:  # noqa: BLE001 - a model is foreign code: whatever it raises concerns its row only
            return False
        if not np.isfinite(scores).all():
            return False
        self._labels.append(label)
        self._scores.append(scores)
        return True

    @property
    def _learnt(self) -> bool:
        return bool(self._progress.rows or self._labels)

    def _note(self, rows: pa.Table) -> None:
        partitions, offsets = rows[PARTITION].to_numpy(), rows[OFFSET].to_numpy()
        for partition in np.unique(partitions).tolist():
            own = offsets[partitions == partition]
            first, _ = self._progress.offsets.get(partition, (int(own[0]), 0))
            self._progress.offsets[partition] = first, int(own[-1])
        if len(rows):
            times = pc.min_max(rows["event_time"]).as_py()
            known = [at for at in (self._progress.first, self._progress.last) if at is not None]
            self._progress.first = min([times["min"], *known])
            self._progress.last = max([times["max"], *known])
        self._since += len(rows)

    def _version(self) -> Version:
        progress, labels, skipped = self._progress, self._labels, self._skipped
        if not labels and self._since:
            raise ModelError(
                f"the model could learn from none of {self._since:,} outcomes: it raises, answers no finite number, or"
                " their labels are not declared; the version before stays in service"
            )
        progress.rows += len(labels)
        made = Version(
            Artefact(dump_repeatably(self.model), "pickle"),
            dict(sorted(progress.offsets.items())),
            progress.rows,
            len(labels),
            self._metrics(),
            progress.first,
            progress.last,
            skipped,
            getattr(self.model, "done", ""),
        )
        # The next version is due as long after this one, whether this one is accepted or not.
        self._since, self._bucket = 0, None
        self._labels, self._scores = [], []
        return made

    def _metrics(self) -> dict[str, float]:
        from sklearn.metrics import mean_absolute_error, mean_squared_error

        labels, scores = np.array(self._labels), np.array(self._scores)
        if self._target.classes:
            return class_metrics(self._target, labels, scores, base_rates(self._target, labels))
        median, mean = np.full(len(labels), np.median(labels)), np.full(len(labels), np.mean(labels))
        return {
            "mae": float(mean_absolute_error(labels, scores[:, 0])),
            "base_mae": float(mean_absolute_error(labels, median)),
            "rmse": float(mean_squared_error(labels, scores[:, 0]) ** 0.5),
            "base_rmse": float(mean_squared_error(labels, mean) ** 0.5),
        }

    def accept(self, version: Version) -> None:
        """The version is published: go on from it as one does who reads it from the log."""
        self._rebase(version.artefact)


def _shared(row: dict[str, Any]) -> dict[str, Any]:
    """The same text is the same object wherever it came from: a stored model depends on that."""
    return {name: _shared_text(value) for name, value in row.items()}


def _shared_text(value: Any) -> Any:
    return sys.intern(value) if type(value) is str else value
