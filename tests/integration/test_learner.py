"""A learner on a real broker: killed and started again it publishes the same versions; and what is said of an event."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from tidemill.loading import load_pipeline

SOURCE = """
import polars as pl
from river import preprocessing, tree

import tidemill as tm

order = {
    "type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "id", "type": "string"},
        {"name": "customer", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount", "type": "double"},
    ],
}
payment = {
    "type": "record", "name": "Payment", "namespace": "shop", "fields": [
        {"name": "id", "type": "string"},
        {"name": "paid", "type": "boolean"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}
pipeline = tm.Pipeline(
    "PIPELINE",
    tm.Events(order, key="customer", time="at", id="id"),
    checks=[tm.between("amount", 0, 1000)],
    features=[tm.fields("amount"), tm.window("customer", over="1h", orders=tm.count())],
    labels=tm.Labels(payment, id="id", label=pl.col("paid"), time="at"),
    model=tm.Model(
        tree.HoeffdingAdaptiveTreeClassifier(grace_period=50, seed=1), features=["amount", "orders"], prior=0.5,
        learning=tm.Learning(every=100, idle="100ms"),
    ),
    partitions=3,
)
"""
COUNT = 1_000


def orders():
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return [
        {"id": f"o{n}", "customer": f"c{n % 11}", "at": start + timedelta(minutes=n), "amount": n * 7919 % 1000 / 1.0}
        for n in range(COUNT)
    ]


ALONE = """
import sys
from tidemill.learning import learning_model
from tidemill.loading import load_pipeline
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.learner import StreamLearner
from tidemill.streams.memory import MemoryLog, MemoryStream
from tidemill.streams.schema_topic import SchemaTopic

pipeline, connection = load_pipeline(sys.argv[1]), Connection(sys.argv[2])
plan, made = pipeline.plan(), []


def publish(version):
    made.append(version.artefact.sha256)
    return {"model_version": made[-1][:12]}


models = MemoryStream(MemoryLog({"models": 1}), "models")
schemas = SchemaTopic(Follower(connection, plan.topic("schemas")))
learner = StreamLearner(
    plan, learning_model(pipeline), KafkaReader(connection), schemas, models, publish, refuse=lambda version: None
)
while len(made) < 10:
    learner.step()
print(*made)
"""


def wait_for(holds, what, seconds=150):
    deadline = time.monotonic() + seconds
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"waited {seconds} s until {what()}"
        time.sleep(0.1)
    return answer


@pytest.fixture(scope="module")
def mill(make_mill):
    made = make_mill(SOURCE)
    plan = load_pipeline(str(made.file)).plan()
    with made.worker(plan.stages), made.client() as client:
        sent = orders()
        client.send_many(sent)
        client.flush()
        labels = [{"id": o["id"], "paid": o["amount"] > 500, "at": o["at"] + timedelta(minutes=7)} for o in sent]
        client.send_labels(labels)
        client.flush()
        wait_for(lambda: len(made.read("outcomes")) >= COUNT, lambda: "all labels are joined")
        yield made


def announced(mill):
    values = [message.value() for message in mill.read("models")]
    return [row for row in mill.codec_of_model_events().decode(values).table.to_pylist() if row["by"] == "learner"]


def start(mill, *command):
    """A process as `tidemill learn` starts it."""
    environment = os.environ | mill.environment | {"PYTHONHASHSEED": "0"}
    with (mill.folder / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=mill.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
        )


def test_a_learner_that_is_killed_publishes_the_same_versions(mill):
    alone = start(mill, "-c", ALONE, str(mill.file), mill.bootstrap_servers)
    command = ["-m", "tidemill", "learner", str(mill.file), "--force"]
    first = second = start(mill, *command)
    try:
        wait_for(lambda: announced(mill), lambda: f"there is a version:\n{mill.log()[-4000:]}")
        first.kill()
        first.wait(60)
        second = start(mill, *command)
        wait_for(lambda: len(announced(mill)) >= 10, lambda: f"there are ten versions:\n{mill.log()[-4000:]}")
        second.stdin.close()
        assert second.wait(60) == 0
        expected = alone.stdout.read().decode().split()
    finally:
        for process in (alone, first, second):
            process.kill()
            process.wait(60)
            process.stdin.close()
            process.stdout.close()
    found = announced(mill)
    assert [row["training_rows"] for row in found] == list(range(COUNT // 10, COUNT + 1, COUNT // 10))
    assert [row["artefact_sha256"] for row in found] == expected


def test_its_versions_serve_without_anyones_trust(mill):
    last = announced(mill)[-1]["model_version"]
    order = orders()[-1]
    mill.send([order | {"id": "next", "at": order["at"] + timedelta(minutes=1)}])
    mill.wait(COUNT + 1)
    found = [a.prediction for (a,) in mill.answers.values() if a.prediction and a.prediction["event_id"] == "next"]
    assert [row["model_version"] for row in found] == [last]


def test_what_is_said_of_an_event(mill):
    made = json.loads(mill.cli("explain", mill.name, "next", "--json").splitlines()[0])
    assert made["event"]["fields"]["customer"] == orders()[-1]["customer"]
    assert made["model"]["by"] == "learner"
    assert made["model"]["training_rows"] == COUNT
    assert made["features"]["amount"] == made["event"]["fields"]["amount"]
    place = made["event"]["place"].removeprefix(f"{mill.name}.events[").split("]@")
    again = mill.cli("explain", str(mill.file), "next", "--partition", place[0], "--offset", place[1], "--json")
    assert json.loads(again.splitlines()[0]) == made
    page = mill.cli("explain", mill.name, "o5")
    assert "Models trained on it" in page
    assert "Outcomes" in page
    assert "no event with the id 'nobody'" in mill.cli("explain", mill.name, "nobody", code=2)
    assert f"explain {mill.name} o5" in mill.cli("explain", "o5", mill.name, code=2)
