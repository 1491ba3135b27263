"""The process that learns in the stream: outcomes of all partitions in one order, versions on P.models.

Its state is the version that it published last, with the offsets of P.outcomes that this one covers. A learner that
starts again reads from there, and learns the same bits: what is learned next, and when a version is due, is decided by
the log (`Arrivals`, `Learner`). Only one publishes at a time: whoever takes the name fences the former.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np

from tidemill.processors.learning import Learning
from tidemill.processors.training.arrivals import Arrivals
from tidemill.processors.training.learner import Learner, Version
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import DeclarationError, StreamError
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.models import announce, announcements, fetch_artefact
from tidemill.streams.plan import Plan
from tidemill.streams.ports import Headers, History, Output, RecordStream, Sender, Transactions

LEARNER = "learner"
"""By whom its versions are announced; also how the name ends under which one learner of a pipeline publishes."""
CHUNK = 5_000
"""How many outcomes of a partition are read at a time."""
Publish = Callable[[Version], Mapping[str, Any]]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LearningModel:
    """What the pipeline declares: an unfitted River model, its features, and how it learns."""

    estimator: Any
    features: Sequence[str]
    learning: Learning


def transactional_id(pipeline: str) -> str:
    """The name that one learner of a pipeline holds at a time.

    >>> transactional_id("flights")
    'flights.learner'
    """
    return f"{pipeline}.{LEARNER}"


class OneLearner:
    """A `Sender` that announces in transactions: when another learner has taken the name, that raises Fenced.

    The model's chunks are sent before, outside: without an announcement nobody looks at them.
    """

    def __init__(self, models: str, sender: Sender, transactions: Transactions) -> None:
        self._models, self._sender, self._transactions = models, sender, transactions
        self.flush, self.first_offset = sender.flush, sender.first_offset

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> None:
        """Queue a chunk, or commit an announcement."""
        if topic != self._models:
            self._sender.send(topic, key, value, headers=headers, partition=partition)
            return
        now = np.array([time.time_ns() // 1_000_000])
        self._transactions.commit([Output(topic, np.zeros(1, np.int32), now, [key], [value], [headers])])


def publisher(plan: Plan, model: LearningModel, make_sender: Callable[[], Sender]) -> Publish:
    """How a version gets on the log: the artefact in chunks, then its announcement."""

    def publish(version: Version) -> Mapping[str, Any]:
        event = {
            "estimator": type(model.estimator).__name__,
            "features": list(model.features),
            "classes": [str(label) for label in plan.target.classes],
            "trained_from": version.trained_from,
            "trained_until": version.trained_until,
            "training_offsets": [
                {"partition": partition, "first": first, "last": last}
                for partition, (first, last) in version.offsets.items()
            ],
            "training_rows": version.training_rows,
            "evaluation_rows": version.evaluation_rows,
            "metrics": version.metrics,
            "by": LEARNER,
        }
        return announce(plan, version.artefact, event, datetime.now(UTC), make_sender())

    return publish


def no_better(version: Version) -> str | None:
    """Why a version is not published: on outcomes that it had not seen it does no better than one constant answer."""
    figure = "log_loss" if "log_loss" in version.metrics else "mae"
    ours, base = version.metrics[figure], version.metrics[f"base_{figure}"]
    if ours < base:
        return None
    return (
        f"{figure} {ours:.4f} on the {version.evaluation_rows:,} newest outcomes is no better than the {base:.4f} of"
        " the best constant answer"
    )


class StreamLearner:
    """Reads P.outcomes, learns, and publishes; made, it stands where the last published version does."""

    def __init__(
        self,
        plan: Plan,
        model: LearningModel,
        history: History,
        schemas: SchemaSource,
        models: RecordStream,
        publish: Publish,
        *,
        refuse: Callable[[Version], str | None] = no_better,
        trusted: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`refuse` is the gate: why a version is not to be published. `models` is P.models.

        Raises:
            DeclarationError: the pipeline has no outcomes.
            ModelError: the version to go on from is altered, or not to be trusted.

        """
        if plan.make_outcomes is None:
            raise DeclarationError(
                f"pipeline {plan.name} has no outcomes to learn from: add 'outcomes' to publish=[...]"
            )
        names = [plan.make_outcomes().name_of(feature) for feature in model.features]
        self._plan, self._history, self._publish, self._refuse = plan, history, publish, refuse
        self._codec = Codec(plan.contracts["outcomes"], schemas)
        self._learning, self._clock = model.learning, clock
        self._topic = plan.topic("outcomes")
        self._learner = Learner(model.estimator, model.features, names, plan.target, model.learning)
        own = [event for event in announcements(models, wait=True) if event.get("by") == LEARNER]
        if own:
            artefact = fetch_artefact(plan.topic("model-artefacts"), own[-1], history)
            self._learner.resume(artefact, own[-1], trusted)
            log.info("going on from version %s", own[-1]["model_version"])
        self._partitions = history.partitions(self._topic)
        self._next = {partition: self._start(partition) for partition in self._partitions}
        self._arrivals = Arrivals(self._partitions)
        self._quiet_since: dict[int, float] = {}
        self._beyond = 0

    def _start(self, partition: int) -> int:
        position = self._learner.position.get(partition)
        beginning = self._history.beginning(self._topic, partition)
        if position is not None and beginning > position:
            raise StreamError(
                f"{self._topic}[{partition}]: expected to go on from offset {position}, but retention has deleted what"
                f" lies before {beginning}; lengthen retention, or start anew under another name of the pipeline"
            )
        return beginning if position is None else position

    def step(self) -> int:
        """Read what has come, learn what is next in order, publish what is due; returns how many were learned."""
        for partition in self._partitions:
            self._read(partition)
        quiet = self._quiet()
        learned = 0
        while (rows := self._arrivals.ready(quiet)) is not None:
            taken, version = self._learner.take(rows)
            self._arrivals.drop(rows.slice(0, taken))
            learned += taken
            if version is None:
                break
            self._offer(version)
        return learned

    def run(self, stop: Callable[[], bool], wait: Callable[[float], object], pause: float = 0.2) -> None:
        """Until `stop` says so; `wait` is told to wait for `pause` seconds when there was nothing to learn.

        Raises:
            Fenced: another learner of this pipeline has taken over.

        """
        while not stop():
            if not self.step():
                wait(pause)

    def _read(self, partition: int) -> None:
        if self._arrivals.waiting(partition):
            return
        records = list(islice(self._history.read(self._topic, partition, self._next[partition]), CHUNK))
        if not records:
            self._quiet_since.setdefault(partition, self._clock())
            return
        self._quiet_since.pop(partition, None)
        self._next[partition] = records[-1].offset + 1
        decoded = self._codec.decode([record.value for record in records], [record.headers for record in records])
        for bad in decoded.bad:
            log.error("%s[%d]@%d cannot be read: %s", self._topic, partition, records[bad.row].offset, bad.message)
        offsets = np.array([records[row].offset for row in decoded.rows.tolist()], np.int64)
        self._arrivals.add(partition, decoded.table, offsets)

    def _quiet(self) -> set[int]:
        now = self._clock()
        return {p for p, since in self._quiet_since.items() if now - since >= self._learning.idle_seconds}

    def _offer(self, version: Version) -> None:
        reason = self._refuse(version)
        if reason is not None:
            log.warning("after %d outcomes no version is published: %s", version.training_rows, reason)
            return
        made = self._publish(version)
        self._learner.accept(version)
        self._arrivals.restart()
        log.info("version %s is published, after %d outcomes", made["model_version"], version.training_rows)
