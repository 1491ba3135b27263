"""The control plane as a Faust application: agents for profiles and actions, a table for its state, a timer."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver

from tidemill.schemas.errors import StreamError
from tidemill.streams.alerts import ACTIONS, ALERTS
from tidemill.streams.control_connection import Login, login_of
from tidemill.streams.control_plane import ControlPlane
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.ports import LogRecord
from tidemill.streams.profile_log import PROFILES
from tidemill.streams.retraining import JOBS, REQUESTS, TRIGGERS

STATE = "control"
"""The topic of the state's changelog, by suffix."""
_MOST_RECORDS = 100
"""In one go: others on the event loop wait for so long."""
_MOST_BYTES = 4 * 1024 * 1024
_SECONDS_FOR_A_RECORD = 5
"""How long a record that Faust has seen may take to come; then the timer goes on."""
_SESSION_SECONDS = 6
"""The least that brokers allow: for so long a control plane that was killed holds up the next one."""
_FOREVER = 10 * 365 * 24 * 3600.0
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ControlOptions:
    """`idle_ms` is after how long without any profile a partition is not waited for; None waits for ever.

    Where the pipeline `retrains`, triggers are shared out over so many partitions of their topic.
    """

    idle_ms: int | None
    retrains: bool = False
    trigger_partitions: int = 1
    beat: Callable[[], None] = lambda: None


class _CommittedThread(driver.AIOKafkaConsumerThread):
    """Reads what is committed: profiles are written in transactions, and Faust would read aborted ones as well."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._isolation_level = "read_committed"
        return consumer


class _Consumer(driver.Consumer):
    def _new_consumer_thread(self) -> _CommittedThread:
        return _CommittedThread(self, loop=self.loop, beacon=self.beacon)


class _Transport(driver.Transport):
    Consumer = _Consumer


class _App(faust.App):
    def _new_transport(self) -> _Transport:
        return _Transport(self.conf.broker_consumer, self)


class ControlApp:
    """The application around a plane. State lives in a Faust table, whose changelog is P.control.

    Faust says who is at work, keeps the state, and wakes the plane up. What is read are the logs themselves, from the
    place up to which the state has them: Faust may pass over a record when it takes partitions over, and where it goes
    on is what it committed, not what is in the state.

    So that the state's entries stay in order they are in one table of one partition, and are sent and awaited here.
    """

    def __init__(self, name: str, connection: Connection, plane: ControlPlane[Any], options: ControlOptions) -> None:
        self._connection, self._plane, self._options = connection, plane, options
        self._reader = KafkaReader(connection)
        self._lock = asyncio.Lock()
        self._heard = time.monotonic()
        self._logs: dict[str, tuple[Follower, Callable[[Sequence[LogRecord]], None]]] = {}
        self.app = app = _application(f"{name}.control", connection)
        self._profiles = _topic(app, f"{name}.{PROFILES}")
        self._actions = _topic(app, f"{name}.{ACTIONS}")
        self._alerts = _topic(app, f"{name}.{ALERTS}")
        self._training = {s: _topic(app, f"{name}.{s}") for s in ((REQUESTS, JOBS) if options.retrains else ())}
        self._triggers = _topic(app, f"{name}.{TRIGGERS}")
        self._table = app.Table(
            STATE,
            key_type=bytes,
            value_type=bytes,
            partitions=1,
            use_partitioner=True,
            changelog_topic=_topic(app, f"{name}.{STATE}"),
        )
        app.agent(self._profiles, name="profiles")(self._wake)
        app.agent(self._actions, name="actions")(self._wake)
        for suffix, topic in self._training.items():
            app.agent(topic, name=suffix)(self._wake)
        app.timer(1.0, name="silence")(self._tick)
        app.on_partitions_revoked.connect(self._revoked)
        app.on_rebalance_complete.connect(self._assigned)

    async def _wake(self, stream: Any) -> None:
        # Acknowledged here: by itself Faust would do so even if what follows fails.
        async for event in stream.noack().events():
            try:
                await self._read_past(event.message.topic, event.message.offset)
                event.ack()
            except Exception as error:
                await self.app.crash(error)
                raise

    async def _read_past(self, topic: str, offset: int) -> None:
        deadline = time.monotonic() + _SECONDS_FOR_A_RECORD
        while topic in self._logs and self._logs[topic][0].next_offset <= offset and time.monotonic() < deadline:
            if not await self.advance():
                await asyncio.sleep(0.02)

    async def advance(self) -> bool:
        """Read on, write what follows from it, and say whether there was anything to read."""
        async with self._lock:
            count = 0
            for follower, take in list(self._logs.values()):
                records = follower.poll(_MOST_RECORDS)
                take(records)
                count += len(records)
            await self._write()
            return count > 0

    async def _write(self) -> None:
        if not self._plane.active:
            return
        alerts, triggers, entries = self._plane.drain()
        sent = [await self._alerts.send(key=k, value=v, headers=h, partition=0) for k, v, h in alerts]
        for key, value, headers in triggers:
            place = int(key, 16) % self._options.trigger_partitions
            sent.append(await self._triggers.send(key=key, value=value, headers=headers, partition=place))
        await asyncio.gather(*sent)
        kept = []
        for entry, state in entries:
            kept.append(self._table.send_changelog(0, entry, state))
            if state is None:
                self._table.data.pop(entry, None)
            else:
                self._table.data[entry] = state
        await asyncio.gather(*kept)

    def _take_profiles(self, records: Sequence[LogRecord]) -> None:
        if records:
            self._heard = time.monotonic()
        self._plane.profiles(records)

    async def _tick(self) -> None:
        self._options.beat()
        while await self.advance():
            self._options.beat()
        if not self._plane.active:
            return
        silence, idle = time.monotonic() - self._heard, self._options.idle_ms
        if idle is None or silence * 1000 <= idle or not await self._all_read():
            return
        async with self._lock:
            if self._plane.active:
                self._plane.silence(round(silence * 1000))
                await self._write()

    async def _all_read(self) -> bool:
        """Whether nothing is left to read, asked of the brokers now: an unreachable cluster is not a silent one."""
        topic = self._profiles.get_topic_name()
        try:
            end = await asyncio.to_thread(self._reader.end, topic, 0)
        except StreamError as error:
            log.warning("%s", error)
            return False
        return topic in self._logs and self._logs[topic][0].end >= end

    def close(self) -> None:
        """Release the connections."""
        self._reader.close()
        self._close_logs()

    def _close_logs(self) -> None:
        for follower, _ in self._logs.values():
            follower.close()
        self._logs = {}

    async def _revoked(self, *_: Any, **__: Any) -> None:
        async with self._lock:
            self._close_logs()
            self._plane.end()
            self._table.data.clear()

    async def _assigned(self, *_: Any, **__: Any) -> None:
        name = self._profiles.get_topic_name()
        mine = {tp.partition for tp in self.app.consumer.assignment() if tp.topic == name}
        if not mine:
            log.info("another control plane is at work; this one stands by")
            return
        if len(mine) != self.app.consumer.topic_partitions(name):
            raise StreamError(f"{name} has several partitions, and another control plane reads some of them: stop one")
        async with self._lock:
            self._heard = time.monotonic()
            plane = self._plane
            plane.begin(dict(self._table.data.items()))
            actions = self._actions.get_topic_name()
            profiles_log = Follower(self._connection, name, plane.next_profile)
            actions_log = Follower(self._connection, actions, plane.next_action)
            self._logs = {name: (profiles_log, self._take_profiles), actions: (actions_log, plane.actions)}
            places = {REQUESTS: (plane.next_request, plane.requests), JOBS: (plane.next_job, plane.jobs)}
            for suffix, topic in self._training.items():
                start, take = places[suffix]
                self._logs[topic.get_topic_name()] = Follower(self._connection, topic.get_topic_name(), start), take
        log.info("at work")


def _application(group: str, connection: Connection) -> faust.App:
    login = login_of(connection)
    return _App(
        group,
        broker=[f"kafka://{server.strip()}" for server in connection.bootstrap_servers.split(",")],
        broker_client_id=group,
        broker_credentials=_credentials(login),
        broker_commit_interval=1.0,
        broker_session_timeout=_SESSION_SECONDS,
        broker_heartbeat_interval=_SESSION_SECONDS / 3,
        broker_rebalance_timeout=2 * _SESSION_SECONDS,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=_MOST_BYTES,
        producer_max_request_size=_MOST_BYTES,
        producer_linger=0,
        store="memory://",
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=1,
        # What is in hand at the end is read again; waiting for it to be given back could last for ever.
        stream_wait_empty=False,
        # Nothing reads the changelog once its table is there, which Faust would report as a fault every few seconds.
        stream_processing_timeout=_FOREVER,
        web_enabled=False,
        autodiscover=False,
    )


def _credentials(login: Login) -> Any:
    if login.mechanism is not None:
        return faust.SASLCredentials(
            mechanism=login.mechanism, username=login.username, password=login.password, ssl_context=login.context
        )
    return None if login.context is None else faust.SSLCredentials(context=login.context)


def _topic(app: faust.App, name: str) -> Any:
    return app.topic(name, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")


def run_control(
    name: str, connection: Connection, plane: ControlPlane[Any], options: ControlOptions, stop: Callable[[], bool]
) -> None:
    """Run until `stop` says so; what is in hand is then finished.

    Raises:
        StreamError: it cannot go on; it is safe to start it again.

    """
    asyncio.run(_run(name, connection, plane, options, stop))


async def _run(
    name: str, connection: Connection, plane: ControlPlane[Any], options: ControlOptions, stop: Callable[[], bool]
) -> None:
    control = ControlApp(name, connection, plane, options)
    app = control.app
    starting = asyncio.ensure_future(app.start())
    try:
        while not stop() and not app.crashed:
            if starting.done():
                starting.result()
            await asyncio.sleep(0.1)
        if not app.crashed:
            await control.advance()
    finally:
        starting.cancel()
        await app.stop()
        control.close()
    if app.crashed:
        reason = app.crash_reason
        raise StreamError(f"the control plane has failed: {type(reason).__name__}: {connection.hide(str(reason))}")
