"""The process that learns in the stream: outcomes of all partitions in one order, versions on P.models.

Its state is the version that it published last, with the offsets of P.outcomes that this one covers. A learner that
starts again reads from there, and learns the same bits: what is learned next, and when a version is due, is decided by
the log (`Arrivals`, `Learner`). Only one publishes: whoever finds a version that is not its own is fenced.
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
from tidemill.processors.rollout.moves import moved, retired
from tidemill.processors.rollout.state import Rollout, Status
from tidemill.processors.training.arrivals import Arrivals
from tidemill.processors.training.learner import Learner, Version
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import DeclarationError, Fenced, StreamError
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.models import announcements, fetch_artefact, stored
from tidemill.streams.plan import Plan
from tidemill.streams.ports import History, RecordStream, Sender
from tidemill.streams.rollout_log import LogMoved, RolloutLog

LEARNER = "learner"
"""By whom its versions are announced."""
_ATTEMPTS = 20
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


def publisher(plan: Plan, model: LearningModel, sender: Sender, rollouts: RolloutLog) -> Publish:
    """How a version gets on the log: the artefact in chunks, then its record on the rollout log.

    A learner that finds that another one has published since it began, or since it last did, is fenced: the two would
    go on from different versions.
    """
    own: list[str] = [each["model_version"] for each in _published(rollouts.rollout())]

    def publish(version: Version) -> Mapping[str, Any]:
        event = stored(plan, version.artefact, _event(plan, model, version), datetime.now(UTC), sender)
        for _ in range(_ATTEMPTS):
            rollout = rollouts.rollout()
            if [each["model_version"] for each in _published(rollout)] != own:
                raise Fenced(f"another learner of pipeline {plan.name} has published meanwhile; this one ends")
            try:
                made = rollouts.append(_steps(rollout, event, plan), expect=len(rollout.records))
            except LogMoved:
                continue
            own.append(event["model_version"])
            return made[-1]
        raise StreamError(f"the rollout log of {plan.name} was always moved by others; start this one again")

    return publish


def _published(rollout: Rollout) -> list[Mapping[str, Any]]:
    """The learner's versions as they were announced, in order."""
    first: dict[str, Mapping[str, Any]] = {}
    for record in rollout.records:
        first.setdefault(record["model_version"], record)
    return [record for record in first.values() if record.get("by") == LEARNER]


def _event(plan: Plan, model: LearningModel, version: Version) -> dict[str, Any]:
    return {
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
        "reason": f"has learned {version.training_rows:,} outcomes"
        + (f"; since the version before: {version.done}" if version.done else ""),
        "by": LEARNER,
    }


def _steps(rollout: Rollout, event: Mapping[str, Any], plan: Plan) -> list[Mapping[str, Any]]:
    """What is appended for a version.

    One that goes on from the champion takes over from it, which stays beside it on probation. Any other, also after one
    was rolled back, is a shadow that has to prove itself. Older shadows give way.
    """
    champion, own = rollout.champion, [each["model_version"] for each in _published(rollout)]
    follows = champion is not None and bool(own) and champion.version == own[-1]
    beside = {event["model_version"]}
    if not follows and rollout.former is not None:
        beside.add(rollout.former.version)
    reason = f"version {event['model_version']} of the learner takes its place"
    shadows = [standing.version for standing in rollout.shadows if standing.version not in beside]
    steps: list[Mapping[str, Any]] = [
        step for name in shadows for step in retired(rollout, name, by=LEARNER, reason=reason)
    ]
    if champion is not None and not follows:
        return [*steps, {**event, "status": Status.SHADOW.value}]
    if champion is not None and plan.rollout is not None:
        said = f"stays beside model {event['model_version']} while that is on probation"
        return [
            *steps,
            {**event, "status": Status.CHAMPION.value},
            moved(champion, Status.SHADOW, by=LEARNER, reason=said),
        ]
    return [*steps, {**event, "status": Status.CHAMPION.value}]


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
        own = _published(Rollout.of(announcements(models, wait=True)))
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
