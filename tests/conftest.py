"""Fixtures for every test: one real Kafka per run, names that do not meet, and a mill: a pipeline run as users do."""

import contextlib
import fcntl
import io
import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from hypothesis import settings

import tidemill as tm
from tidemill.cli import main
from tidemill.cli.processes import prepare_cluster
from tidemill.loading import load_pipeline
from tidemill.schemas.builtin import MODEL_EVENT
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.broker import EmbeddedBroker
from tidemill.streams.broker.download import download
from tidemill.streams.broker.jars import read_lock
from tidemill.streams.kafka.admin import describe_group
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.metrics import Metrics
from tidemill.streams.plan import STAGES
from tidemill.streams.rejections import HEADERS
from tidemill.streams.worker import WorkerOptions, run_worker

CHECKOUT = Path(__file__).parents[1]

# Machines differ by a factor of eight, and the first call of a kernel compiles it: time says nothing here.
settings.register_profile("tidemill", deadline=None)
settings.load_profile("tidemill")
ORDERS = """
import polars as pl
from sklearn.linear_model import LogisticRegression

import tidemill as tm

order = {
    "type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "id", "type": "string"},
        {"name": "customer", "type": ["null", "string"], "default": None},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount", "type": "double"},
        {"name": "shop", "type": ["null", "string"], "default": None},
        # more fields
    ],
}
payment = {
    "type": "record", "name": "Payment", "namespace": "shop", "fields": [
        {"name": "id", "type": "string"}, {"name": "paid", "type": ["null", "boolean"], "default": None},
    ],
}
pipeline = tm.Pipeline(
    "PIPELINE",
    tm.Events(order, key="customer", time="at", id="id"),
    checks=[tm.between("amount", 0, 1000), tm.unique(within="1d")],
    features=[
        tm.fields("amount"),
        tm.lookup(tm.file_table("shops", "shops.csv", key=["shop"]), on=["shop"], columns=["city", "rank"]),
        tm.window(
            "customer", over="1h", resolution="1m",
            orders=tm.count(), total=tm.sum("amount"), largest=tm.max("amount"), recent=tm.last("amount"),
        ),
        # more features
    ],
    labels=tm.Labels(payment, id="id", label=pl.col("paid")),
    model=tm.Model(LogisticRegression(), features=["amount", "orders"], prior=0.25),
    partitions=3,
)
"""
SHOPS = "shop,city,rank\nA,Aachen,1\nB,Bonn,2\nC,,3\n"


@pytest.fixture(scope="session")
def jar_cache() -> Path:
    """Kafka's jars, downloaded once per checkout, also where several processes run tests."""
    folder, jars = CHECKOUT / ".tidemill" / "kafka" / "jars", read_lock()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "tests.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        download(jars, jars.folder(folder))
    return folder


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, jar_cache: Path) -> Iterator[EmbeddedBroker]:
    """One running broker for the whole run: `kafka.bootstrap_servers`. Do not stop it; start your own for that."""
    root = tmp_path_factory.mktemp("kafka")
    with EmbeddedBroker(root, port=0, jars=jar_cache) as broker:
        yield broker
    shutil.rmtree(root)


@pytest.fixture
def pipeline_name() -> str:
    """A pipeline's name that no other test has, for topics, groups and transactions of its own."""
    return f"test-{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Answer:
    """One message of P.predictions, decoded, or of P.rejected, with its metadata by field."""

    message: Message
    prediction: dict[str, Any] | None = None
    rejection: dict[str, str] | None = None


def wait_until(holds: Callable[[], Any], what: str, seconds: float = 120) -> Any:
    """What `holds` answers, once it is true; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"waited {seconds} s until {what}"
        time.sleep(0.05)
    return answer


class Mill:
    """A pipeline of its own, driven through its file and the command line, with workers as real processes."""

    def __init__(self, folder: Path, bootstrap_servers: str, source: str = ORDERS, **files: str) -> None:
        self.name = f"test-{secrets.token_hex(4)}"
        self.folder, self.bootstrap_servers = folder, bootstrap_servers
        self.file = folder / "orders.py"
        self.declare(source)
        for name, text in {"shops.csv": SHOPS, **files}.items():
            (folder / name).write_text(text)
        self.home = folder / "home"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.answers: dict[tuple[int, int], list[Answer]] = defaultdict(list)
        self.failures: list[BaseException] = []
        self._consumer: Consumer | None = None
        self._codec: Codec | None = None
        self._version: bytes | None = None

    def declare(self, source: str) -> None:
        """Write the pipeline file."""
        self.file.write_text(source.replace("PIPELINE", self.name))

    @property
    def environment(self) -> dict[str, str]:
        return {"TIDEMILL_HOME": str(self.home), "TIDEMILL_BOOTSTRAP_SERVERS": self.bootstrap_servers}

    def run(self, *options: str, home: str = "home") -> subprocess.Popen[bytes]:
        """`tidemill run` in a process group of its own; its messages are in `log()`."""
        return self.start("run", str(self.file), "--metrics-port", "0", *options, home=home)

    def start(self, *arguments: str, home: str = "home") -> subprocess.Popen[bytes]:
        """A `tidemill` command in a process group of its own; its messages are in `log()`."""
        command = [sys.executable, "-m", "tidemill", *arguments]
        environment = os.environ | self.environment | {"TIDEMILL_HOME": str(self.folder / home)}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        self.processes.append(process)
        return process

    def log(self) -> str:
        """Everything that the processes have said."""
        log = self.folder / "log"
        return log.read_text() if log.exists() else ""

    def workers(self, supervisor: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """The supervisor's worker processes that live now."""
        children = psutil.Process(supervisor.pid).children()
        return [child for child in children if child.status() != psutil.STATUS_ZOMBIE]

    def wait_for_workers(self, supervisor: subprocess.Popen[bytes], count: int) -> list[psutil.Process]:
        """The workers, once there are so many."""
        wait_until(lambda: len(self.workers(supervisor)) == count, f"there are {count} workers", 60)
        return self.workers(supervisor)

    def wait_for_members(self, count: int, stage: str = "sanity_check") -> None:
        """Until the group of a stage is stable and has so many members."""
        connection, group = Connection(self.bootstrap_servers), f"{self.name}.{stage}"

        def settled() -> bool:
            found = describe_group(connection, group)
            return found.state == "STABLE" and len(found.members) == count

        wait_until(lambda: self._alive() or settled(), f"{group} has {count} members")

    def stop(self, process: subprocess.Popen[bytes], number: int = signal.SIGTERM) -> int:
        """Ask it to end, and return its exit code."""
        process.send_signal(number)
        return process.wait(60)

    def close(self) -> None:
        """End what still runs, whatever state it is in."""
        for process in self.processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()
            process.wait(10)
        if self._consumer is not None:
            self._consumer.close()

    @contextlib.contextmanager
    def worker(self, stages: tuple[str, ...] = STAGES, **options: Any) -> Iterator[Metrics]:
        """A worker on a thread of this process, for tests that are not about processes: it starts in no time."""
        plan, connection = load_pipeline(str(self.file)).plan(), Connection(self.bootstrap_servers)
        prepare_cluster(plan, connection)
        stop, metrics = threading.Event(), Metrics()

        def run() -> None:
            try:
                run_worker(plan, connection, WorkerOptions(stages, **options), metrics, stop.is_set)
            except BaseException as error:  # noqa: BLE001 - shown by the thread that waits
                self.failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield metrics
        finally:
            stop.set()
            thread.join(30)
        self._alive()

    def cli(self, *arguments: str, code: int = 0, stdin: str | None = None) -> str:
        """Run a command in this process; returns what it printed, standard error after standard output."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["tidemill", *arguments])
            patch.setattr(sys, "path", [*sys.path])
            if stdin is not None:
                patch.setattr(sys, "stdin", io.StringIO(stdin))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    ended = main()
                except SystemExit as error:
                    ended = error.code
        assert (ended or 0) == code, out.getvalue() + err.getvalue()
        return out.getvalue() + err.getvalue()

    def audit(self, code: int = 0) -> dict[str, Any]:
        """`tidemill audit --json`."""
        found: dict[str, Any] = json.loads(self.cli("audit", self.name, "--json", code=code).splitlines()[0])
        return found

    def client(self) -> tm.Client:
        """A client that knows the pipeline by name only."""
        return tm.Client(self.name, self.bootstrap_servers)

    def send(self, events: list[dict[str, Any]]) -> None:
        """Send events and wait for their delivery."""
        with self.client() as client:
            client.send_many(events)

    def produce(self, messages: list[tuple[bytes | None, bytes | None]]) -> None:
        """Send these keys and values to the first partition of the events topic, as they are."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers, "enable.idempotence": True})
        for key, value in messages:
            producer.produce(f"{self.name}.events", value, key, 0)
        assert producer.flush(30) == 0

    def replay(self, events: list[Message]) -> None:
        """Send these messages as they were: key, value, partition and timestamp."""
        producer = Producer({"bootstrap.servers": self.bootstrap_servers, "enable.idempotence": True})
        for event in events:
            producer.produce(
                f"{self.name}.events", event.value(), event.key(), event.partition(), timestamp=event.timestamp()[1]
            )
        assert producer.flush(30) == 0

    def unnamed(self, value: bytes) -> bytes:
        """A message's value without what follows from the pipeline's name: the schema's fingerprint and the version."""
        if self._version is None:
            self._version = load_pipeline(str(self.file)).plan().version.encode()
        return value[10:].replace(self._version, b"version")

    def read(self, suffix: str, **settings: Any) -> list[Message]:
        """All committed messages of a topic, by partition and offset."""
        consumer = Consumer(self._settings() | {"enable.partition.eof": True} | settings)
        topic = f"{self.name}.{suffix}"
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, p, 0) for p in partitions])
        messages, open_partitions, deadline = [], set(partitions), time.monotonic() + 30
        while open_partitions:
            assert time.monotonic() < deadline, f"{topic} has no end"
            for message in consumer.consume(1_000, 0.1):
                if message.error() is None:
                    messages.append(message)
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    open_partitions.discard(message.partition())
        consumer.close()
        return sorted(messages, key=lambda message: (message.partition(), message.offset()))

    def rows(self, suffix: str) -> list[dict[str, Any]]:
        """All decoded rows of a topic, by source partition and offset."""
        found = self.read(suffix)
        table = self.codec(suffix).decode([m.value() for m in found]).table
        rows: list[dict[str, Any]] = table.to_pylist()
        assert len(rows) == len(found)
        return sorted(rows, key=lambda row: (row["source_partition"], row["source_offset"]))

    def codec(self, suffix: str) -> Codec:
        """Reads a topic's messages by the published contract."""
        client = self.client()
        return Codec(client.contract(suffix), client.schemas)

    def codec_of_events(self) -> Codec:
        """Writes events as declared, whatever the pipeline would say of them."""
        contract = load_pipeline(str(self.file)).contract
        return Codec(contract, KnownSchemas([contract]))

    def codec_of_model_events(self) -> Codec:
        """Writes and reads announcements."""
        return Codec(MODEL_EVENT, KnownSchemas([MODEL_EVENT]))

    def _settings(self) -> dict[str, Any]:
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "group.id": "test",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 20,
            "log_level": 0,
        }

    def wait(self, count: int, seconds: float = 200) -> dict[tuple[int, int], list[Answer]]:
        """Until so many events are answered: `answers` by source partition and offset."""
        deadline = time.monotonic() + seconds
        while True:
            self._take()
            if len(self.answers) >= count:
                return self.answers
            self._alive()
            if time.monotonic() > deadline:
                self._show_stacks()
                raise AssertionError(f"{len(self.answers)} of {count} answered in {seconds} s:\n{self.log()[-9000:]}")

    def _show_stacks(self) -> None:
        """Have the processes say in the log what they are doing."""
        for process in self.processes:
            if process.poll() is None:
                for worker in psutil.Process(process.pid).children():
                    worker.send_signal(signal.SIGUSR1)
        time.sleep(1)

    def _alive(self) -> None:
        """Fail at once if what was last started has ended by itself."""
        if self.failures:
            raise self.failures[0]
        if self.processes and self.processes[-1].poll() not in (None, 0, -signal.SIGKILL):
            raise AssertionError(f"`tidemill run` has ended:\n{self.log()[-5000:]}")

    def _take(self) -> None:
        if self._consumer is None:
            client = self.client()
            wait_until(lambda: self._alive() or self._published(client), "the pipeline has published its contracts")
            self._codec = Codec(client.contract("predictions"), client.schemas)
            self._consumer = Consumer(self._settings())
            names = [f"{self.name}.predictions", f"{self.name}.rejected"]
            found = self._consumer.list_topics(timeout=10).topics
            self._consumer.assign([TopicPartition(name, p, 0) for name in names for p in found[name].partitions])
        assert self._codec is not None
        for message in self._consumer.consume(1_000, 0.1):
            assert message.error() is None, message.error()
            if message.topic().endswith(".rejected"):
                headers = dict(message.headers())
                rejection = {field: headers[name].decode() for field, name in HEADERS.items()}
                if rejection["topic"] == f"{self.name}.labels":
                    continue
                place = int(rejection["partition"]), int(rejection["offset"])
                self.answers[place].append(Answer(message, rejection=rejection))
            else:
                (row,) = self._codec.decode([message.value()], [message.headers()]).table.to_pylist()
                self.answers[row["source_partition"], row["source_offset"]].append(Answer(message, prediction=row))

    @staticmethod
    def _published(client: tm.Client) -> bool:
        try:
            return client.contract("predictions") is not None
        except tm.StreamError:
            return False


@pytest.fixture(scope="module")
def make_mill(kafka: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Mill]]:
    """Makes mills on the shared broker, or on another one; what they start has ended after the module."""
    made = []

    def make(source: str = ORDERS, bootstrap_servers: str | None = None, **files: str) -> Mill:
        mill = Mill(tmp_path_factory.mktemp("mill"), bootstrap_servers or kafka.bootstrap_servers, source, **files)
        made.append(mill)
        return mill

    make.source = ORDERS  # type: ignore[attr-defined]
    yield make
    for mill in made:
        mill.close()


def make_orders(count: int, seed: int = 1, start: int = 0) -> list[dict[str, Any]]:
    """Orders about half a minute apart and a little out of order; some cost too much, some come twice."""
    chance = random.Random(seed)
    orders: list[dict[str, Any]] = []
    for number in range(start, start + count):
        if orders and chance.random() < 0.02:
            orders.append(chance.choice(orders[-50:]))
            continue
        at = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=30 * number + chance.randint(-90, 90))
        orders.append(
            {
                "id": f"o{number}",
                "customer": f"c{chance.randint(0, 19)}",
                "at": at,
                "amount": chance.randint(0, 4200) / 4,
                "shop": chance.choice(["A", "B", "C", "D", None]),
            }
        )
    return orders


def expected_answers(orders: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    """What ORDERS says of one partition's orders, in the order of the log: "rejected" and why, or "features"."""
    seen: set[str] = set()
    history: dict[str, list[tuple[int, float]]] = defaultdict(list)
    shops = {"A": ("Aachen", 1), "B": ("Bonn", 2), "C": (None, 3)}
    answers: list[tuple[str, Any]] = []
    for order in orders:
        if order["amount"] > 1000:
            answers.append(("rejected", "out_of_range"))
            continue
        if order["id"] in seen:
            answers.append(("rejected", "duplicate_id"))
            continue
        seen.add(order["id"])
        minute, earlier = int(order["at"].timestamp()) // 60, history[order["customer"]]
        inside = [(at, amount) for at, amount in earlier if minute - 60 < at <= minute]
        latest = max((at for at, _ in inside), default=None)
        city, rank = shops.get(order["shop"], (None, None))
        row = {
            "event_id": order["id"],
            "event_key": order["customer"],
            "event_time": order["at"],
            "amount": order["amount"],
            "city": city,
            "rank": rank,
            "orders": len(inside),
            "total": sum(amount for _, amount in inside),
            "largest": max((amount for _, amount in inside), default=None),
            "recent": next((amount for at, amount in reversed(inside) if at == latest), None),
        }
        answers.append(("features", row))
        if order["customer"] is not None:
            newest = max((at for at, _ in earlier), default=minute)
            if minute > newest - 60:
                earlier.append((minute, order["amount"]))
            history[order["customer"]] = [pair for pair in earlier if pair[0] > max(newest, minute) - 60]
    return answers


class Orders:
    """The naive model of ORDERS, for tests in other folders."""

    make = staticmethod(make_orders)

    @staticmethod
    def check(mill: Mill) -> int:
        """Every event on the log has the answer that it should have, once; returns how many there are."""
        events = mill.read("events")
        codec = mill.codec("events")
        rows = codec.decode([m.value() for m in events]).table.to_pylist()
        assert len(rows) == len(events)
        features = {(row["source_partition"], row["source_offset"]): row for row in mill.rows("features")}
        wrong = []
        for partition in {m.partition() for m in events}:
            mine = [(m.offset(), row) for m, row in zip(events, rows, strict=True) if m.partition() == partition]
            for (offset, order), (kind, expected) in zip(mine, expected_answers([o for _, o in mine]), strict=True):
                place = partition, offset
                answer = mill.answers[place]
                assert len(answer) == 1, f"{place}: {len(answer)} answers to {order}"
                if kind == "rejected":
                    assert answer[0].rejection is not None, f"{place} should be rejected as {expected}: {order}"
                    assert answer[0].rejection["reason"] == expected
                    assert place not in features
                    continue
                found = {name: features[place][name] for name in expected}
                if found != expected:
                    wrong.append((place, expected, found))
        assert not wrong, f"{len(wrong)} of {len(events)} events have wrong features, such as {wrong[:3]}"
        return len(events)


@pytest.fixture(scope="session")
def orders() -> type[Orders]:
    """Orders to send, and what should come of them."""
    return Orders
