"""Testing a pipeline without a broker: the production engine over a log in memory and a clock that you move."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa

from tidemill.loading import load_pipeline
from tidemill.outgoing import Outgoing, Rows
from tidemill.pipeline import Pipeline
from tidemill.processors.online_inference.artefact import dump_model
from tidemill.results import Alert, Outcome, Prediction, Rejection
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import DeclarationError, ModelError, nearest
from tidemill.streams.alerts import alert_row, decode_alerts, encode_alert
from tidemill.streams.history import between
from tidemill.streams.memory import MemoryLog, MemoryReader, MemorySender, MemoryStream
from tidemill.streams.memory_worker import MemoryWorker
from tidemill.streams.models import announce
from tidemill.streams.outcomes.status import LabelStatus, label_status
from tidemill.streams.plan import TopicTable
from tidemill.streams.ports import Headers, LogRecord
from tidemill.streams.profile_log import PROFILES, read_deltas
from tidemill.streams.references import References
from tidemill.streams.rollout_judge import RolloutJudge
from tidemill.streams.rollout_log import RolloutLog
from tidemill.streams.schema_topic import SchemaTopic, publish_contracts
from tidemill.streams.watch import make_state

__all__ = ["START", "Driver"]

START = datetime(2024, 1, 1, tzinfo=UTC)
"""Where a driver's clock stands if it is told nothing else."""


class Driver:
    """Runs a pipeline in memory: what the workers run, with the same topics, bytes, state and rejections.

    Nothing happens by itself. `send` puts events on the log, `run` processes all that is there, and `advance` moves the
    clock that stamps the records. What you read then is what subscribers would.

    `pipeline` is a `Pipeline`, or the file or module of one as the command line takes it. `partitions` is by default as
    declared. `stages` is "all" for one worker that has them fused, or "each" for one worker per stage; nothing that is
    read here may depend on it. A time without a zone is UTC.

    >>> import tidemill as tm
    >>> order = {"type": "record", "name": "Order", "fields": [
    ...     {"name": "id", "type": "string"}, {"name": "customer", "type": "string"},
    ...     {"name": "amount", "type": "double"},
    ...     {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}
    >>> pipeline = tm.Pipeline(
    ...     "orders", tm.Events(order, key="customer", time="at", id="id"),
    ...     checks=[tm.between("amount", 0, 1000)],
    ...     features=[tm.window("customer", over="1h", spent=tm.sum("amount"))])
    >>> driver = tm.testing.Driver(pipeline)
    >>> for number, amount in enumerate([20.0, 30.0, 5000.0]):
    ...     driver.send({"id": f"o{number}", "customer": "ada", "amount": amount, "at": driver.now})
    ...     driver.advance(timedelta(minutes=5))
    >>> driver.run()
    >>> [row["spent"] for row in driver.features()]
    [0.0, 20.0]
    >>> [rejection.reason for rejection in driver.rejections() if rejection.stage == "sanity_check"]
    ['out_of_range']

    Raises:
        DeclarationError: the pipeline, or what is asked of it, cannot be.

    """

    def __init__(
        self,
        pipeline: Pipeline | Path | str,
        *,
        partitions: int | None = None,
        stages: str = "all",
        now: datetime = START,
    ) -> None:
        self.pipeline = pipeline if isinstance(pipeline, Pipeline) else load_pipeline(str(pipeline))
        self._clock = _milliseconds(now)
        self._trusted: set[str] = set()
        plan = replace(self.pipeline.plan(), partitions=partitions or self.pipeline.partitions)
        topics = {spec.name: spec.partitions or plan.partitions for spec in plan.topics()}
        self.log = MemoryLog(topics, lambda: self._clock)
        """Every topic, to look at or to meddle with."""
        self._schemas = SchemaTopic(MemoryStream(self.log, plan.topic("schemas")))
        publish_contracts(plan.name, plan.published, self._schemas, MemorySender(self.log))
        self._outgoing: dict[str, Outgoing] = {}
        self._stages = stages
        self.restart()

    def restart(self, stages: str | None = None) -> None:
        """Stop the workers and start new ones: what they knew is read back from the log, as after a crash.

        `stages` has them share the stages in another way from now on.

        Raises:
            StreamError: "all" stages were asked for while they stand at different events; `run` first.

        """
        stages = stages or self._stages
        if stages not in ("all", "each"):
            raise DeclarationError(f"expected stages='all' or 'each', got {stages!r}")
        plan = self.pipeline.make_plan()
        groups = [plan.stages] if stages == "all" else [(stage,) for stage in plan.stages]
        workers = [MemoryWorker(plan, group, self.log, lambda: self._clock / 1000, self._trusted) for group in groups]
        self._stages, self.plan = stages, plan
        self.workers = tuple(workers)
        """The workers, one for each group of stages; `step` on one of them processes a single batch."""

    @property
    def now(self) -> datetime:
        """What the clock shows: the timestamp of the next record."""
        return datetime.fromtimestamp(self._clock / 1000, UTC)

    def advance(self, by: timedelta) -> None:
        """Move the clock on; records have milliseconds."""
        if by < timedelta(0):
            raise DeclarationError(f"a clock that goes back by {-by}: expected a time span that is not negative")
        self._clock += by // timedelta(milliseconds=1)

    def send(self, events: Mapping[str, Any] | Rows) -> None:
        """Put an event, several, or an Arrow table of them on the log, checked against the contract as by the client.

        Raises:
            EncodeError: one does not fit the contract; none was sent.

        """
        self._send("events", events)

    def send_labels(self, labels: Mapping[str, Any] | Rows) -> None:
        """Put labels on the log; raises as `send`."""
        self._send("labels", labels)

    def send_bytes(
        self, value: bytes | None, *, key: bytes | None = None, headers: Headers | None = None, topic: str = "events"
    ) -> None:
        """Put any bytes on the log, as a producer does who knows nothing of the contract."""
        self.log.append(self._topic(topic), key, value, headers=headers)

    def put_table(self, name: str, rows: Mapping[str, Any] | Rows) -> None:
        """Put rows on the topic of a reference table; events see them that are processed after.

        Raises:
            DeclarationError: the pipeline has no topic table of that name.
            EncodeError: a row does not fit the table's contract; none was put.

        """
        table = self._table(name)
        outgoing = Outgoing(table.contract, self._schemas, key=table.table.key)
        for key, value in outgoing.messages(_listed(rows)):
            self.log.append(table.topic, key, value)

    def delete_from_table(self, name: str, keys: Mapping[str, Any] | Iterable[Mapping[str, Any]]) -> None:
        """Delete the rows with these keys, such as {"shop": "A"}, that `put_table` put."""
        table = self._table(name)
        given = [{column: row[column] for column in table.table.key} for row in _listed(keys)]
        schema = pa.schema([table.contract.arrow.field(column) for column in table.table.key])
        outgoing = Outgoing(table.contract, self._schemas, key=table.table.key)
        for key in outgoing.keys(pa.Table.from_pylist(given, schema)):
            self.log.append(table.topic, key, None)

    def run(self, max_batch: int = 10_000) -> None:
        """Process everything that is on the log, in batches of at most so many events."""
        for worker in self.workers:
            worker.run(max_batch)

    def serve(
        self, model: Any, features: Sequence[str] | None = None, *, role: str = "champion", share: float = 0.1
    ) -> str:
        """Announce a fitted model, which answers from the next batch on; returns its version.

        With another `role` it is a "shadow", which is scored and answers nothing, or a "canary", which answers this
        `share` of the keys.

        `features` are those that it takes, in its order; by default those that the pipeline declares for its model.

        Raises:
            DeclarationError: the pipeline does not make one of the features.
            ModelError: the model cannot be served; the log says why.

        """
        if features is None and self.pipeline.model is None:
            raise DeclarationError(f"pipeline {self.plan.name} declares no model: name its features=[...]")
        names = list(features if features is not None else self.pipeline.model.features if self.pipeline.model else [])
        known = self.plan.contracts["features"].arrow.names
        for name in names:
            if name not in known:
                raise DeclarationError(f"pipeline {self.plan.name} makes no feature {name!r}{nearest(name, known)}")
        artefact = dump_model(model)
        # Whoever made the object need not be asked whether its pickle is to be trusted.
        self._trusted.add(artefact.sha256)
        event = {
            "estimator": type(model).__name__,
            "features": names,
            "classes": [str(label) for label in self.plan.target.classes],
            "training_offsets": [],
            "training_rows": 0,
            "evaluation_rows": 0,
            "metrics": {},
        }
        event |= {"status": role, "share": share if role == "canary" else 0.0, "by": "test"}
        made = announce(self.plan, artefact, event, self.now, MemorySender(self.log), self.rollouts)
        return self._served(made)

    def train(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        evaluate_until: datetime | None = None,
        force: bool = False,
    ) -> dict[str, Any]:
        """Train the declared model on the features and labels so far, as `tidemill train` does, and announce it.

        Returns the announcement.

        Raises:
            DeclarationError: the pipeline declares no model, or does not publish its features.
            ModelError: there is too little to learn from, or the model is no better than the base rate and `force` is
                not set.

        """
        from tidemill.training import Stretch, learn

        self.plan.require_published("features", "training")
        stretch = Stretch(since, until, evaluate_until)
        made = learn(
            self.pipeline,
            between(self.table("features"), "event_time", since, evaluate_until),
            self.table("labels") if "labels" in self.plan.contracts else pa.table({}),
            stretch,
            MemorySender(self.log),
            self.rollouts,
            now=lambda: self.now,
            force=force,
        )
        self._served(made)
        return made

    def learn(self, *, force: bool = False) -> list[Mapping[str, Any]]:
        """Learn the outcomes so far as `tidemill learn` does, killed and started again between two calls.

        Returns the announcements of the versions that it has published.

        Raises:
            DeclarationError: the pipeline has no model that learns in the stream.

        """
        from tidemill.learning import learning_model
        from tidemill.processors.training.learner import Version
        from tidemill.streams.learner import StreamLearner, no_better, publisher

        model, made = learning_model(self.pipeline), list[Mapping[str, Any]]()
        publish = publisher(self.plan, model, MemorySender(self.log), RolloutLog(self.plan, self.log))

        def note(version: Version) -> Mapping[str, Any]:
            made.append(publish(version))
            return made[-1]

        learner = StreamLearner(
            self.plan,
            model,
            MemoryReader(self.log),
            self._schemas,
            MemoryStream(self.log, self._topic("models")),
            note,
            refuse=(lambda version: None) if force else no_better,  # noqa: ARG005
            # Nothing is ever under way, so that no partition need be waited for.
            clock=count(0, 10**6).__next__,
        )
        while learner.step():
            pass
        if made:
            self._served(made[-1])
        return made

    def _served(self, announcement: Mapping[str, Any]) -> str:
        version: str = announcement["model_version"]
        for worker in self.workers:
            worker.follow()
            stage = worker.inference
            served = [] if stage is None else [stage.model, *(challenger.model for challenger in stage.challengers)]
            if stage is not None and version not in [model.version for model in served if model and not model.fault]:
                raise ModelError(f"model {version} was refused; the logger tidemill.streams.models says why")
        return version

    @property
    def rollouts(self) -> RolloutLog:
        """The rollout log: which model has which role, since when, and why."""
        return RolloutLog(self.plan, self.log, lambda: self.now)

    def shadow_predictions(self) -> list[dict[str, Any]]:
        """The answers that subscribers did not get, by partition and in log order."""
        rows: list[dict[str, Any]] = self.table("shadow-predictions").to_pylist()
        return rows

    def judge(self) -> list[str]:
        """Have the rollout judge read what there is and take the steps that follow; what it did, and why, in order.

        Raises:
            DeclarationError: the pipeline declares no rollout.

        """
        plan, policy = self.plan, self.plan.rollout
        if policy is None:
            raise DeclarationError(f"pipeline {plan.name} declares no rollout: add rollout=tm.Rollout()")
        judge = RolloutJudge(plan, policy, MemoryReader(self.log), self._schemas, self.rollouts)
        done: list[str] = []
        while steps := judge.step():
            done += [f"{step.step}: {step.reason}" for step in steps]
        for worker in self.workers:
            worker.follow()
        return done

    def predictions(self) -> list[Prediction]:
        """All predictions so far, by partition and in log order."""
        return [Prediction.from_row(row) for row in self.table("predictions").to_pylist()]

    def outcomes(self) -> list[Outcome]:
        """All outcomes so far: what happened, beside what was predicted; of an event's several the last one counts."""
        return [Outcome.from_row(row) for row in self.table("outcomes").to_pylist()]

    def label_status(self) -> LabelStatus:
        """What became of labels so far, how long they took, and how complete the days are."""
        return label_status(MemoryReader(self.log), self.plan.name)

    def alerts(self) -> list[Alert]:
        """Each change of an incident, as `tidemill control` tells of it when nothing has come for a while.

        Raises:
            DeclarationError: the pipeline looks for no drift.

        """
        watch = self.plan.watch
        if watch is None:
            raise DeclarationError(f"pipeline {self.plan.name} looks for no drift: declare profiles=tm.Profiles()")
        models = MemoryStream(self.log, self._topic("models"))
        references = References(self.plan, models, MemoryReader(self.log))
        state = make_state(self.plan.name, watch, self.plan.partitions, references)
        for delta in read_deltas(self.records(PROFILES)):
            if delta is not None:
                state.take(delta)
        state.silence((watch.idle_ms or 0) + 1)
        told = [encode_alert(alert_row(self.plan.name, incident))[1] for incident in state.drain().alerts]
        return [Alert(**row) for row in decode_alerts(told)]

    def rejections(self) -> list[Rejection]:
        """All rejected events so far, with the reasons."""
        return [Rejection.from_record(record) for record in self.records("rejected")]

    def features(self) -> list[dict[str, Any]]:
        """The features of all events so far."""
        rows: list[dict[str, Any]] = self.table("features").to_pylist()
        return rows

    def table(self, topic: str) -> pa.Table:
        """The messages of a topic that has a contract ("events", "validated", "labels", …), decoded."""
        contracts = self.plan.contracts
        if topic not in contracts:
            raise DeclarationError(f"no contract says how {topic!r} is read{nearest(topic, contracts)}")
        records = self.records(topic)
        codec = Codec(contracts[topic], self._schemas)
        return codec.decode([r.value for r in records], [r.headers for r in records]).table

    def records(self, topic: str) -> list[LogRecord]:
        """The messages of a topic ("events", "rejected", "changelog", …) as they stand on the log."""
        self.plan.require_published(topic, "this test")
        name = self._topic(topic)
        return [record for partition in self.log.partitions(name) for record in self.log.read(name, partition)]

    def _topic(self, suffix: str) -> str:
        return self.plan.topic(suffix)

    def _table(self, name: str) -> TopicTable:
        tables = {table.table.name: table for table in self.plan.topic_tables}
        if name not in tables:
            raise DeclarationError(f"pipeline {self.plan.name} has no topic table {name!r}{nearest(name, tables)}")
        return tables[name]

    def _send(self, suffix: str, given: Mapping[str, Any] | Rows) -> None:
        if suffix not in self.plan.contracts:
            raise DeclarationError(f"pipeline {self.plan.name} declares no {suffix}")
        if suffix not in self._outgoing:
            self._outgoing[suffix] = Outgoing(self.plan.contracts[suffix], self._schemas)
        outgoing = self._outgoing[suffix]
        for key, value in outgoing.messages(_listed(given)):
            self.log.append(self._topic(suffix), key, value, headers=outgoing.headers)


def _listed(given: Mapping[str, Any] | Rows) -> Rows:
    return [given] if isinstance(given, Mapping) else given


def _milliseconds(moment: datetime) -> int:
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
