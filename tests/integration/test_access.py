"""Each role does its work on a broker that asks for passwords, and is refused everything else by the broker."""

import contextlib
import io
import json
import logging
import stat
import sys
import threading
import time

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

import tidemill as tm
from tidemill.cli import main
from tidemill.cli.processes import prepare_cluster
from tidemill.loading import load_pipeline
from tidemill.schemas.errors import BrokerError, StreamError
from tidemill.streams.broker import EmbeddedBroker
from tidemill.streams.kafka.admin import describe_group
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.metrics import Metrics
from tidemill.streams.plan import STAGES
from tidemill.streams.worker import WorkerOptions, group_name, run_worker

ORDERS = """
import polars as pl
from sklearn.linear_model import LogisticRegression
import tidemill as tm

order = {
    "type": "record", "name": "Order", "fields": [
        {"name": "id", "type": "string"}, {"name": "customer", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount", "type": "double"},
    ],
}
payment = {
    "type": "record", "name": "Payment", "fields": [
        {"name": "id", "type": "string"}, {"name": "paid", "type": "boolean"},
    ],
}
city = tm.Contract.parse({
    "type": "record", "name": "City", "fields": [
        {"name": "customer", "type": "string"}, {"name": "rank", "type": ["null", "long"], "default": None},
    ],
})
pipeline = tm.Pipeline(
    "NAME",
    tm.Events(order, key="customer", time="at", id="id"),
    features=[
        tm.fields("amount"),
        tm.lookup(tm.topic_table("city", city, key=["customer"]), on=["customer"], columns=["rank"]),
        tm.window("customer", over="1h", orders=tm.count()),
    ],
    labels=tm.Labels(payment, id="id", label=pl.col("paid")),
    model=tm.Model(LogisticRegression(), features=["amount", "orders"], prior=0.25),
    profiles=tm.Profiles(),
    partitions=2,
    access=tm.Access(
        producer=["producer"], subscriber=["subscriber"], labeller=["labeller"],
        worker=["worker"], trainer=["trainer"], control=["control"], operator=["operator"],
    ),
)
"""
ROLES = ("producer", "subscriber", "labeller", "worker", "trainer", "control", "operator")
STRANGER = "stranger"
# Written out by hand, so that a slip in the roles' definition shows.
READS = {
    "producer": {"schemas"},
    "subscriber": {"schemas", "predictions", "shadow-predictions", "outcomes", "drift-alerts"},
    "labeller": {"schemas"},
    "worker": {
        *("schemas", "events", "validated", "features", "changelog", "models", "model-artefacts", "table-city"),
        *("labels", "scored"),
    },
    "trainer": {"schemas", "features", "labels", "predictions", "outcomes", "models", "model-artefacts"},
    "control": {
        *("schemas", "models", "model-artefacts", "profiles", "control", "alert-actions"),
        *("shadow-predictions", "outcomes"),
    },
    "operator": {
        *("schemas", "events", "labels", "predictions", "outcomes", "rejected", "retries", "changelog", "models"),
        *("model-artefacts", "profiles", "drift-alerts", "shadow-predictions", "features"),
    },
    STRANGER: set(),
}
WRITES = {
    "producer": {"events"},
    "subscriber": set(),
    "labeller": {"labels"},
    "worker": {
        *("validated", "features", "predictions", "rejected", "changelog", "schemas"),
        *("scored", "outcomes", "profiles", "shadow-predictions"),
    },
    "trainer": {"models", "model-artefacts"},
    "control": {"control", "drift-alerts", "models"},
    "operator": {"events", "labels", "retries", "alert-actions", "models"},
    STRANGER: set(),
}
TOPICS = {
    *("events", "validated", "features", "predictions", "rejected", "changelog", "schemas", "models"),
    *("model-artefacts", "labels", "retries", "table-city", "scored", "outcomes"),
    *("profiles", "control", "drift-alerts", "alert-actions", "shadow-predictions"),
}


class Cluster:
    """A secure broker with a user for each role, and one for none."""

    def __init__(self, broker, folder):
        self.broker, self.folder = broker, folder
        self.said = []
        self.admin = broker.status().credentials

    def config(self, user):
        return self.admin if user == "admin" else self.folder / "home" / "access" / f"{user}.properties"

    def password(self, user):
        return dict(line.split("=", 1) for line in self.config(user).read_text().splitlines())["sasl.password"]

    def environment(self, user):
        return {
            "TIDEMILL_HOME": str(self.folder / "home"),
            "TIDEMILL_KAFKA_CONFIG": str(self.config(user)),
        }

    def cli(self, user, *arguments, code=0, stdin=None):
        """Run a command as this user; returns what it printed, standard error after standard output."""
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in self.environment(user).items():
                patch.setenv(name, value)
            patch.setattr(sys, "argv", ["tidemill", *map(str, arguments)])
            patch.setattr(sys, "path", [*sys.path])
            patch.setattr(sys, "stdin", io.StringIO(stdin or ""))
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    ended = main()
                except SystemExit as error:
                    ended = error.code
        said = out.getvalue() + err.getvalue()
        self.said.append(said)
        assert (ended or 0) == code, said
        return said

    def declare(self, name):
        path = self.folder / f"{name}.py"
        path.write_text(ORDERS.replace("NAME", name))
        self.cli("admin", "access", "apply", path)
        self.cli("operator", "topics", "apply", path)
        return path

    def settings(self, user):
        """Those of a plain client, which knows nothing of Tidemill."""
        return {
            "bootstrap.servers": self.broker.bootstrap_servers,
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": user,
            "sasl.password": self.password(user),
            "log_level": 0,
        }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory, jar_cache):
    folder = tmp_path_factory.mktemp("access")
    with EmbeddedBroker(folder / "home", port=0, jars=jar_cache, secure=True) as broker:
        made = Cluster(broker, folder)
        for user in (*ROLES, STRANGER):
            made.cli("admin", "access", "user", "add", user)
        yield made


@pytest.fixture(scope="module")
def orders(cluster):
    """A pipeline with topics, on which no worker runs: what is written by mistake spoils nothing."""
    cluster.declare("orders")
    return "orders"


def code_of(error):
    return (error.args[0] if isinstance(error, KafkaException) else error).code()


def refused(done, *codes):
    """Whether the broker refused this with one of these codes; another error is a failure."""
    try:
        done()
    except KafkaException as error:
        if code_of(error) not in codes:
            raise
        return True
    return False


def test_everyone_who_is_let_in_is_in_a_file_of_its_own(cluster):
    for user in (*ROLES, "admin"):
        assert stat.S_IMODE(cluster.config(user).stat().st_mode) == 0o600
    assert len({cluster.password(user) for user in (*ROLES, "admin")}) == len(ROLES) + 1
    home = cluster.broker.root / "kafka"
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for path in home.iterdir():
        if path.is_file() and path.suffix in (".properties", ".json", ".log"):
            private = stat.S_IMODE(path.stat().st_mode) == 0o600
            assert private or cluster.password("admin") not in path.read_text(), path


def test_no_password_no_entry(cluster, jar_cache):
    plain = AdminClient({"bootstrap.servers": cluster.broker.bootstrap_servers, "log_level": 0})
    with pytest.raises(KafkaException):
        plain.list_topics(timeout=1)
    wrong = AdminClient(cluster.settings("worker") | {"sasl.password": "guessed"})
    with pytest.raises(KafkaException):
        wrong.list_topics(timeout=1)
    stolen = cluster.folder / "home" / "access" / "wrong.properties"
    stolen.write_text(cluster.config("worker").read_text().replace(cluster.password("worker"), "guessed"))
    said = cluster.cli("wrong", "status", "orders", code=2)
    assert "does not let in the user 'worker'" in said
    assert "guessed" not in said
    with pytest.raises(BrokerError, match="was made with --secure: start the broker with --secure"):
        EmbeddedBroker(cluster.broker.root, port=0, jars=jar_cache).start()


@pytest.mark.parametrize("role", [*ROLES, STRANGER])
def test_topics_are_read_and_written_by_their_roles_only(cluster, orders, role):
    assert readable(cluster, orders, role) == READS[role]
    assert writable(cluster, orders, role) == WRITES[role]


def readable(cluster, pipeline, role):
    """The topics that a plain consumer gets to the end of."""
    consumer = Consumer(
        cluster.settings(role) | {"group.id": "tidemill-test", "enable.partition.eof": True, "fetch.wait.max.ms": 10}
    )
    # Of a topic that it may not even see, a consumer says nothing.
    described = {suffix: consumer.list_topics(f"{pipeline}.{suffix}", 10).topics for suffix in TOPICS}
    hidden = {suffix for suffix, topics in described.items() if topics[f"{pipeline}.{suffix}"].error is not None}
    consumer.assign([TopicPartition(f"{pipeline}.{suffix}", 0, 0) for suffix in TOPICS - hidden])
    verdicts, deadline = dict.fromkeys(hidden, False), time.monotonic() + 20
    while len(verdicts) < len(TOPICS):
        assert time.monotonic() < deadline, f"{role}: nothing was said of {TOPICS - verdicts.keys()}"
        message = consumer.poll(0.1)
        if message is None or message.topic() is None:
            continue
        code = None if message.error() is None else message.error().code()
        assert code in (None, KafkaError._PARTITION_EOF, KafkaError.TOPIC_AUTHORIZATION_FAILED), message.error()
        verdicts[message.topic().removeprefix(f"{pipeline}.")] = code != KafkaError.TOPIC_AUTHORIZATION_FAILED
    consumer.close()
    return {suffix for suffix, allowed in verdicts.items() if allowed}


def writable(cluster, pipeline, role):
    """The topics that take a plain producer's message."""
    verdicts = {}

    def delivered(error, message):
        assert error is None or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED, error
        verdicts[message.topic().removeprefix(f"{pipeline}.")] = error is None

    producer = Producer(cluster.settings(role) | {"linger.ms": 0, "message.timeout.ms": 20_000})
    for suffix in TOPICS:
        # An empty contract, announcement or position is passed over by whoever reads it.
        producer.produce(f"{pipeline}.{suffix}", b"", b"key", 0, on_delivery=delivered)
    assert producer.flush(30) == 0
    assert verdicts.keys() == TOPICS
    return {suffix for suffix, allowed in verdicts.items() if allowed}


@pytest.mark.parametrize("role", [*ROLES, STRANGER])
def test_groups_transactions_and_the_cluster_are_their_roles_only(cluster, orders, role):
    settings = cluster.settings(role)
    groups = {
        group
        for group in (
            *(f"{orders}.sanity_check", f"{orders}.online_inference", f"{orders}.other", "tidemill-reader", "mine"),
            *(f"{orders}.subscriber.{user}.screen" for user in ("subscriber", "other")),
        )
        if may_join(settings, group, f"{orders}.{min(READS[role], default='events')}")
    }
    assert groups == {
        "worker": {f"{orders}.sanity_check", f"{orders}.online_inference"},
        "subscriber": {f"{orders}.subscriber.subscriber.screen"},
    }.get(role, set())

    producer = Producer(settings | {"transactional.id": f"{orders}.mine"})
    no_transactions = refused(lambda: producer.init_transactions(20), KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    assert no_transactions == (role != "worker")

    admin = AdminClient(settings)
    denied = KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.TOPIC_AUTHORIZATION_FAILED
    everything = AclBinding(
        *(ResourceType.TOPIC, f"{orders}.", ResourcePatternType.PREFIXED, f"User:{role}", "*"),
        *(AclOperation.READ, AclPermissionType.ALLOW),
    )
    # An operator may, so that it shows by a user and an ACL that harm nobody.
    change = UserScramCredentialUpsertion("nobody", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), b"nothing")
    assert refused(lambda: admin.alter_user_scram_credentials([change])["nobody"].result(20), *denied) == (
        role != "operator"
    )
    if role != "operator":
        assert refused(lambda: admin.create_acls([everything])[everything].result(20), *denied)
    topic = f"{orders}.events"
    assert refused(lambda: admin.delete_topics([topic])[topic].result(20), *denied)
    other = f"{orders}.another"
    assert refused(lambda: admin.create_topics([NewTopic(other, 1)])[other].result(20), *denied)


def may_join(settings, group, topic):
    """Whether a group takes this user as a member."""
    consumer = Consumer(settings | {"group.id": group})
    joined = []
    consumer.subscribe([topic], on_assign=lambda _, partitions: joined.append(partitions))
    try:
        deadline = time.monotonic() + 20
        while not joined:
            assert time.monotonic() < deadline, f"{group}: neither joined nor refused"
            message = consumer.poll(0.1)
            error = None if message is None else message.error()
            if error is not None and error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                return False
        return True
    finally:
        consumer.close()


def test_every_role_does_its_work_through_tidemill(cluster, caplog):
    file, name = cluster.declare("shop"), "shop"
    rows = [
        {"id": str(i), "customer": f"c{i % 7}", "at": 1_700_000_000_000_000 + i * 1_000_000, "amount": float(i % 10)}
        for i in range(200)
    ]
    events = "".join(json.dumps(row) + "\n" for row in rows)
    paid = "".join(json.dumps({"id": row["id"], "paid": row["amount"] > 4}) + "\n" for row in rows)
    with running_worker(cluster, file, caplog):
        assert "sent 200 events" in cluster.cli("producer", "send", name, stdin=events)
        assert "sent 200 labels" in cluster.cli("labeller", "send", name, "--labels", stdin=paid)
        answers = [
            json.loads(line)["event_id"]
            for line in cluster.cli(
                *("subscriber", "tail", name, "--since", "beginning", "-n", "200", "--timeout", "60", "--json")
            ).splitlines()
        ]
        assert sorted(answers, key=int) == [row["id"] for row in rows]
        assert "announced" in cluster.cli("trainer", "train", file, "--force")
        wait_until(lambda: "is in service" in caplog.text)
        audit = json.loads(cluster.cli("operator", "audit", name, "--json").splitlines()[0])
        assert (audit["missing"], audit["doubled"], audit["predictions"]) == (0, 0, 200)
        found = json.loads(cluster.cli("operator", "status", name, "--json").splitlines()[0])
        assert found["announced_model"] in cluster.cli("operator", "models", "list", name)
        assert [group["lag"] <= 2 for group in found["groups"]] == [True]
    assert not [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    words = [cluster.password(user) for user in (*ROLES, "admin")]
    assert not [word for word in words if word in caplog.text + "".join(cluster.said)]


@contextlib.contextmanager
def running_worker(cluster, file, caplog):
    """What `tidemill run` does, as the user `worker`, on a thread of this process: it starts in no time."""
    caplog.set_level(logging.INFO, "tidemill")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment("worker").items():
            patch.setenv(name, value)
        connection = Connection.from_environment(None)
    plan, stop, failures = load_pipeline(str(file)).plan(), threading.Event(), []
    prepare_cluster(plan, connection)
    for stage in STAGES:
        assert describe_group(connection, group_name(plan, (stage,))).members == ()

    def run():
        try:
            run_worker(plan, connection, WorkerOptions(STAGES), Metrics(), stop.is_set)
        except BaseException as error:  # noqa: BLE001 - shown by the thread that waits
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    assert failures == []


def wait_until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_subscriber_shares_a_topic_in_groups_of_its_own(cluster, orders):
    connection = Connection(
        cluster.broker.bootstrap_servers,
        {name: value for name, value in cluster.settings("subscriber").items() if name.startswith(("s",))},
    )
    assert cluster.password("subscriber") not in repr(connection)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in cluster.environment("subscriber").items():
            patch.setenv(name, value)
        # What is published is found by a pipeline's file as well; here nothing is.
        pipeline = tm.Pipeline(
            orders,
            tm.Events(
                {
                    "type": "record",
                    "name": "Order",
                    "fields": [
                        {"name": "id", "type": "string"},
                        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
                    ],
                },
                key="id",
                time="at",
                id="id",
            ),
        )
        client = tm.Client(pipeline, cluster.broker.bootstrap_servers)
        with client.predictions(group=f"{orders}.subscriber.subscriber.screen", timeout=2) as mine:
            assert list(mine) == []
        with (
            client.predictions(group=f"{orders}.online_inference", timeout=20) as theirs,
            pytest.raises(StreamError, match="Group authorization failed"),
        ):
            list(theirs)


def test_what_is_refused_is_one_line(cluster, orders):
    for user, arguments in (
        (STRANGER, ("status", orders)),
        ("producer", ("access", "show", cluster.folder / "orders.py")),
        ("worker", ("access", "user", "add", "friend")),
    ):
        said = cluster.cli(user, *arguments, code=2)
        assert said.startswith("error: ")
        assert len(said.splitlines()) == 1


def test_access_is_applied_once_and_pruned(cluster, orders):
    file = cluster.folder / "orders.py"
    assert "0 changed" in cluster.cli("operator", "access", "apply", file, "--prune")
    cluster.cli("operator", "access", "apply", file, "--role", "subscriber", "--user", "guest")
    shown = json.loads(cluster.cli("operator", "access", "show", file, "--json"))
    assert {row["state"] for row in shown} == {"present", "surplus"}
    assert {row["user"] for row in shown if row["state"] == "surplus"} == {"guest"}
    planned = json.loads(cluster.cli("operator", "access", "apply", file, "--prune", "--dry-run", "--json"))
    assert {row["state"] for row in planned["changes"]} == {"surplus"}
    done = json.loads(cluster.cli("operator", "access", "apply", file, "--prune", "--json"))
    assert len(done["changes"]) == len(planned["changes"])
    assert "0 changed" in cluster.cli("operator", "access", "apply", file, "--prune")


def test_users_come_and_go(cluster):
    add = ("access", "user", "add", "passing", "--password-file", "-")
    assert "at least 8 characters" in cluster.cli("operator", *add, stdin="short\n", code=2)
    cluster.cli("operator", *add, stdin="a password of mine\n")
    assert cluster.password("passing") == "a password of mine"
    AdminClient(cluster.settings("passing")).list_topics(timeout=10)
    assert "--replace gives it another password" in cluster.cli("operator", *add, code=2, stdin="another password\n")
    assert "passing" in cluster.cli("operator", "access", "user", "list").splitlines()
    cluster.cli("operator", "access", "user", "remove", "passing")
    with pytest.raises(KafkaException):
        AdminClient(cluster.settings("passing")).list_topics(timeout=1)
    assert "there is no user passing" in cluster.cli("operator", "access", "user", "remove", "passing", code=2)
