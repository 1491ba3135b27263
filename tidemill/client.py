"""The client: send events and labels, subscribe to predictions, rejections and alerts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4

import pyarrow as pa

from tidemill.outgoing import Outgoing
from tidemill.pipeline import Pipeline
from tidemill.results import Alert, Outcome, Prediction, Rejection, RetrainTrigger, TrainingJob
from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import DeclarationError, StreamError, nearest
from tidemill.schemas.framing import Confluent
from tidemill.streams.alerts import ACTIONS, ALERTS, decode_alerts, encode_action
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.kafka.registry import Registry
from tidemill.streams.kafka.subscription import KafkaSubscription
from tidemill.streams.ports import LogRecord
from tidemill.streams.retraining import JOBS, REQUESTS, TRIGGERS, decode_jobs, decode_triggers, encode_request
from tidemill.streams.schema_topic import SchemaTopic

T = TypeVar("T")


class Subscription(Generic[T]):
    """Results as they are committed, for `for` and for `async for`.

    Iteration ends after `timeout` seconds without a message, or never when it is None. `close`, or leaving a `with`
    block, releases the connection.
    """

    def __init__(
        self, source: KafkaSubscription, decode: Callable[[list[LogRecord]], list[T]], timeout: float | None
    ) -> None:
        self._source, self._decode, self._timeout = source, decode, timeout
        self._ready: list[T] = []

    def __iter__(self) -> Iterator[T]:
        while self._fill():
            yield from self._taken()

    async def __aiter__(self) -> AsyncIterator[T]:
        while await asyncio.to_thread(self._fill):
            for item in self._taken():
                yield item

    def _fill(self) -> bool:
        waited = 0.0
        while not self._ready:
            if self._timeout is not None and waited >= self._timeout:
                return False
            step = 1.0 if self._timeout is None else min(1.0, self._timeout - waited)
            self._ready = self._decode(self._source.poll(step))
            waited += step
        return True

    def _taken(self) -> list[T]:
        taken, self._ready = self._ready, []
        return taken

    def close(self) -> None:
        """Release the connection."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Client:
    """A producer and subscriber of one pipeline, named or as declared.

    Given a name alone, the contracts are read from the pipeline's schemas topic, so that it works where the
    pipeline's code is not. Events are checked against the contract, constraints included, before they leave.

        with tm.Client("flights") as client:
            client.send({"flight_id": "…", …})
            for prediction in client.predictions():
                …

    Raises:
        StreamError: the cluster or the pipeline's topics are not there.
        EncodeError: an event does not fit its contract.

    """

    def __init__(
        self,
        pipeline: Pipeline | str,
        bootstrap_servers: str | None = None,
        *,
        registry_url: str | None = None,
        default_bootstrap: str | None = None,
    ) -> None:
        self.name = pipeline if isinstance(pipeline, str) else pipeline.name
        self.connection = Connection.from_environment(bootstrap_servers, default_bootstrap)
        self._registry = Registry(registry_url) if registry_url else None
        self.schemas = SchemaTopic(Follower(self.connection, f"{self.name}.schemas"), self._registry)
        self.declared = None if isinstance(pipeline, str) else pipeline
        self._plan = None if isinstance(pipeline, str) else pipeline.plan()
        self._publisher: Publisher | None = None
        self._outgoing: dict[str, Outgoing] = {}

    def contract(self, suffix: str) -> Contract:
        """The contract of one of the pipeline's topics, such as "events"."""
        if self._plan is not None:
            known = self._plan.published
            if suffix not in known:
                raise DeclarationError(f"pipeline {self.name!r} has no contract for {suffix!r}{nearest(suffix, known)}")
            return known[suffix]
        topic = f"{self.name}.{suffix}"
        found = self.schemas.latest(topic)
        if found is None:
            self.schemas.refresh()
            found = self.schemas.latest(topic)
        known = self.contracts() if found is None else {}
        if known:
            raise StreamError(f"pipeline {self.name!r} has no contract for {suffix!r}{nearest(suffix, known)}")
        if found is None:
            raise StreamError(
                f"no contract is published for {topic}; was pipeline {self.name!r} ever started on"
                f" {self.connection.bootstrap_servers}?"
            )
        return found

    def contracts(self) -> dict[str, Contract]:
        """Every contract of the pipeline, by topic suffix."""
        if self._plan is not None:
            return self._plan.published
        self.schemas.refresh()
        return {topic.removeprefix(f"{self.name}."): contract for topic, contract in self.schemas.topics().items()}

    def send(self, event: Mapping[str, Any]) -> None:
        """Queue one event; `flush` waits for its delivery.

        Raises:
            EncodeError: it does not fit the contract; nothing was sent.
            StreamError: an earlier event could not be delivered.

        """
        self.send_many([event])

    def send_many(self, events: Iterable[Mapping[str, Any]] | pa.Table) -> int:
        """Queue many events, as rows or as an Arrow table with the contract's columns; returns how many."""
        return self._send("events", events)

    def send_labels(self, labels: Iterable[Mapping[str, Any]] | pa.Table) -> int:
        """Queue labels; returns how many."""
        return self._send("labels", labels)

    def flush(self) -> None:
        """Wait until everything queued is delivered, and raise what was not."""
        if self._publisher is not None:
            self._publisher.flush()

    def predictions(
        self, *, since: str = "now", timeout: float | None = None, group: str | None = None
    ) -> Subscription[Prediction]:
        """Predictions as they are committed, from "now" on or from the "beginning"."""
        codec = Codec(self.contract("predictions"), self.schemas)

        def decode(records: list[LogRecord]) -> list[Prediction]:
            rows = codec.decode([r.value for r in records], [r.headers for r in records]).table.to_pylist()
            return [Prediction.from_row(row) for row in rows]

        return Subscription(self._subscribe("predictions", since, group), decode, timeout)

    def outcomes(
        self, *, since: str = "now", timeout: float | None = None, group: str | None = None
    ) -> Subscription[Outcome]:
        """What happened, beside what was predicted, as it is committed; of an event's several the last one counts."""
        codec = Codec(self.contract("outcomes"), self.schemas)

        def decode(records: list[LogRecord]) -> list[Outcome]:
            rows = codec.decode([r.value for r in records], [r.headers for r in records]).table.to_pylist()
            return [Outcome.from_row(row) for row in rows]

        return Subscription(self._subscribe("outcomes", since, group), decode, timeout)

    def rejections(
        self, *, since: str = "now", timeout: float | None = None, group: str | None = None
    ) -> Subscription[Rejection]:
        """Rejected events as they are committed, with the reasons."""
        source = self._subscribe("rejected", since, group)
        return Subscription(source, lambda records: [Rejection.from_record(r) for r in records], timeout)

    def alerts(
        self, *, since: str = "now", timeout: float | None = None, group: str | None = None, muted: bool = False
    ) -> Subscription[Alert]:
        """Incidents as they open, change and resolve; with `since="beginning"`, first what the topic still has.

        Alerts of muted incidents are left out unless asked for. After a crash of the control plane one may come twice:
        `delivery_id` is then the same.
        """
        source = self._subscribe(ALERTS, since, group)

        def decode(records: list[LogRecord]) -> list[Alert]:
            return [Alert(**row) for row in decode_alerts([r.value for r in records]) if muted or not row["muted"]]

        return Subscription(source, decode, timeout)

    def incidents(self) -> list[Alert]:
        """Each incident as it stands now, in the order in which they opened; the resolved and the muted as well."""
        reader = KafkaReader(self.connection)
        try:
            rows = decode_alerts([record.value for record in reader.read(f"{self.name}.{ALERTS}", 0)])
        finally:
            reader.close()
        last: dict[str, Alert] = {}
        for alert in (Alert(**row) for row in rows):
            if alert.id not in last or alert.revision >= last[alert.id].revision:
                last[alert.id] = alert
        return sorted(last.values(), key=lambda alert: (alert.opened_at, alert.id))

    def mute(self, alert_id: str, who: str, *, until: datetime | None = None, reason: str = "") -> None:
        """Have nobody told of an incident while it lasts; with `until`, up to that event time, even if it reopens."""
        self._act({"id": alert_id, "action": "mute", "who": who, "until": until, "reason": reason})

    def unmute(self, alert_id: str, who: str, *, reason: str = "") -> None:
        """Have people told of an incident again."""
        self._act({"id": alert_id, "action": "unmute", "who": who, "reason": reason})

    def acknowledge(self, alert_id: str, who: str, *, reason: str = "") -> None:
        """Say in an incident's alerts who has taken it on."""
        self._act({"id": alert_id, "action": "acknowledge", "who": who, "reason": reason})

    def _act(self, action: Mapping[str, Any]) -> None:
        open_ids = [alert.id for alert in self.incidents() if alert.state != "resolved"]
        if action["id"] not in open_ids:
            raise DeclarationError(
                f"pipeline {self.name} has no open incident {action['id']!r}{nearest(action['id'], open_ids)};"
                " `tidemill alerts show` lists them"
            )
        if self._publisher is None:
            self._publisher = Publisher(self.connection)
        key, value = encode_action(action)
        self._publisher.send(f"{self.name}.{ACTIONS}", key, value)
        self._publisher.flush()

    def retrain(
        self, who: str, *, reason: str = "", since: datetime | None = None, request_id: str | None = None
    ) -> str:
        """Ask for a new model, learnt from events since this time at the earliest; returns the request's id.

        What is asked twice under one `request_id` is done once.
        """
        made = request_id or uuid4().hex
        self._ask({"id": made, "action": "retrain", "who": who, "reason": reason, "job": "", "since": since})
        return made

    def cancel_job(self, job_id: str, who: str, *, reason: str = "") -> None:
        """Have a job ended, or not begun."""
        known = {job.id: job for job in self.jobs()}
        ids = known.keys() | {trigger.id for trigger in self.triggers() if trigger.state == "fired"}
        if job_id not in ids:
            raise DeclarationError(
                f"pipeline {self.name} has no job {job_id!r}{nearest(job_id, ids)}; `tidemill jobs list` lists them"
            )
        if job_id in known and known[job_id].state in ("succeeded", "refused", "failed", "cancelled"):
            raise DeclarationError(f"job {job_id} has ended already: {known[job_id].state}")
        self._ask({"id": f"cancel-{job_id}", "action": "cancel", "who": who, "reason": reason, "job": job_id})

    def triggers(self) -> list[RetrainTrigger]:
        """Every retrain trigger that the topic has, suppressed ones as well, by event time."""
        rows = decode_triggers([record.value for record in self._read(TRIGGERS)])
        return sorted((RetrainTrigger(**row) for row in rows if row is not None), key=lambda t: (t.at, t.id))

    def jobs(self) -> list[TrainingJob]:
        """How each training job stands, the last one to change at the end."""
        rows = decode_jobs([record.value for record in self._read(JOBS)])
        last = {row["id"]: TrainingJob.from_row(row) for row in rows if row is not None}
        return sorted(last.values(), key=lambda job: job.at)

    def _read(self, suffix: str) -> list[LogRecord]:
        reader, topic = KafkaReader(self.connection), f"{self.name}.{suffix}"
        try:
            return [record for partition in reader.partitions(topic) for record in reader.read(topic, partition)]
        finally:
            reader.close()

    def _ask(self, request: Mapping[str, Any]) -> None:
        # A topic that is not there would be waited for: the pipeline's name is wrong, or it declares no retraining.
        with closing(KafkaReader(self.connection)) as reader:
            reader.partitions(f"{self.name}.{REQUESTS}")
        if self._publisher is None:
            self._publisher = Publisher(self.connection)
        key, value, headers = encode_request({"since": None, **request}, datetime.now(UTC))
        self._publisher.send(f"{self.name}.{REQUESTS}", key, value, headers=headers)
        self._publisher.flush()

    def rows(self, suffix: str, *, since: str = "now", timeout: float | None = None) -> Subscription[dict[str, Any]]:
        """The decoded rows of any of the pipeline's topics that has a contract."""
        codec = Codec(self.contract(suffix), self.schemas)

        def decode(records: list[LogRecord]) -> list[dict[str, Any]]:
            rows: list[dict[str, Any]] = codec.decode(
                [r.value for r in records], [r.headers for r in records]
            ).table.to_pylist()
            return rows

        return Subscription(self._subscribe(suffix, since, None), decode, timeout)

    def _subscribe(self, suffix: str, since: str, group: str | None) -> KafkaSubscription:
        return KafkaSubscription(self.connection, f"{self.name}.{suffix}", since, group)

    def _send(self, suffix: str, given: Iterable[Mapping[str, Any]] | pa.Table) -> int:
        outgoing = self._outgoing_to(suffix)
        messages = outgoing.messages(given)
        if self._publisher is None:
            self._publisher = Publisher(self.connection)
        topic = f"{self.name}.{suffix}"
        for key, value in messages:
            self._publisher.send(topic, key, value, headers=outgoing.headers)
        return len(messages)

    def _outgoing_to(self, suffix: str) -> Outgoing:
        if suffix not in self._outgoing:
            contract = self.contract(suffix)
            prefix = None
            if self._registry is not None:
                prefix = Confluent(self._registry.register(f"{self.name}.{suffix}", contract)).prefix
            self._outgoing[suffix] = Outgoing(contract, self.schemas, prefix=prefix)
        return self._outgoing[suffix]

    def close(self) -> None:
        """Deliver what is queued and release the connections."""
        self.flush()
        if self._registry is not None:
            self._registry.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
