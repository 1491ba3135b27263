"""The archive beside a real broker: archivers that are killed, several at once, and data sets that outlive it all."""

import hashlib
import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from tidemill.loading import load_pipeline
from tidemill.streams.archive import Archive
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.schema_topic import SchemaTopic

SOURCE = """
import polars as pl
from sklearn.linear_model import LogisticRegression

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
        {"name": "paid", "type": ["null", "string"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}
pipeline = tm.Pipeline(
    "PIPELINE",
    tm.Events(order, key="customer", time="at", id="id"),
    features=[tm.fields("amount"), tm.window("customer", over="1h", orders=tm.count(), most=tm.max("amount"))],
    labels=tm.Labels(payment, id="id", label=pl.col("paid"), classes=["no", "yes"], time="at", within="2h"),
    model=tm.Model(LogisticRegression(), features=["amount", "orders"], prior={"no": 0.25, "yes": 0.75}),
    partitions=3,
)
"""
START = datetime(2024, 1, 1, tzinfo=UTC)
SUFFIXES = ("features", "predictions", "outcomes")


@pytest.fixture(scope="module")
def mill(make_mill):
    return make_mill(SOURCE)


def make(first, count):
    orders = [
        {"id": f"o{n}", "customer": f"c{n % 11}", "at": START + timedelta(minutes=n), "amount": n / 4}
        for n in range(first, first + count)
    ]
    labels = [
        {"id": order["id"], "paid": "yes" if n % 3 else "no", "at": order["at"] + timedelta(minutes=n % 90)}
        for n, order in enumerate(orders, first)
        if n % 4
    ]
    return orders, labels


def send(client, first, count):
    orders, labels = make(first, count)
    client.send_many(orders)
    client.send_labels(labels)
    client.flush()
    return len(labels)


def follow(mill):
    """`tidemill archive --follow` as a process of its own."""
    command = [sys.executable, "-m", "tidemill", "archive", str(mill.file), "--follow", "--every", "0.3", "--json"]
    with (mill.folder / "log").open("ab") as log:
        environment = os.environ | mill.environment
        process = subprocess.Popen(command, cwd=mill.folder, env=environment, stdout=subprocess.PIPE, stderr=log)
    mill.processes.append(process)
    return process


def wait_until(mill, holds, what):
    deadline = time.monotonic() + 90
    while not (answer := holds()):
        assert time.monotonic() < deadline, f"waited until {what}:\n{mill.log()[-3000:]}"
        assert mill.failures == []
        assert all(process.poll() in (None, 0, -9) for process in mill.processes), mill.log()[-3000:]
        time.sleep(0.2)
    return answer


def count(archive, suffix):
    table = archive.table(suffix)
    return table.read(columns=["_offset"]).num_rows if table.exists() else 0


def assert_each_is_archived_once(mill, archive):
    for suffix in SUFFIXES:
        messages = mill.read(suffix)
        rows = archive.table(suffix).read().sort_by([("_partition", "ascending"), ("_offset", "ascending")])
        found = list(zip(rows["_partition"].to_pylist(), rows["_offset"].to_pylist(), strict=True))
        assert found == [(message.partition(), message.offset()) for message in messages]
        decoded = mill.codec(suffix).decode([message.value() for message in messages]).table
        assert rows.drop_columns(["_partition", "_offset", "_timestamp"]).to_pylist() == decoded.to_pylist()


def test_killed_archivers_two_at_once_and_data_sets_that_last(mill):
    plan = load_pipeline(str(mill.file)).plan()
    archive = Archive(str(mill.home / "archive" / mill.name))
    connection = Connection(mill.bootstrap_servers)
    reader = KafkaReader(connection)
    schemas = SchemaTopic(Follower(connection, plan.topic("schemas")))
    with mill.worker(plan.stages), mill.client() as client:
        victim = follow(mill)
        labelled = send(client, 0, 200)
        wait_until(mill, lambda: count(archive, "predictions") > 0, "something is archived")
        labelled += send(client, 200, 100)
        victim.kill()
        victim.communicate(timeout=10)
        before = len(mill.log())
        # Two at once go on in the middle of the traffic: another process, and this one.
        other = follow(mill)
        for part in range(3, 8):
            labelled += send(client, part * 100, 100)
            archive.catch_up(plan, reader, schemas)
        wait_until(
            mill, lambda: archive.catch_up(plan, reader, schemas) and count(archive, "outcomes") == labelled, "outcomes"
        )
        wait_until(mill, lambda: count(archive, "features") == 800, "all features are archived")
        # It has come as far as to look at the topics once.
        wait_until(mill, lambda: "Upkeep" in mill.log()[before:], "the other one is at work")
    other.terminate()
    out, _ = other.communicate(timeout=60)
    assert other.returncode == 0
    told = json.loads(out)["tables"]
    assert_each_is_archived_once(mill, archive)
    assert all(told[suffix]["unreadable"] == told[suffix]["missed"] == 0 for suffix in SUFFIXES)

    made = json.loads(mill.cli("datasets", "build", str(mill.file), "--last", "500", "--half-life", "1d", "--json"))
    assert made["rows"] == 500
    mill.cli("datasets", "build", str(mill.file), "--feature", "most", "--feature", "amount", "--sample", "300")

    # A day later: more data, another writer, fewer and larger files.
    with mill.worker(plan.stages), mill.client() as client:
        labelled += send(client, 800, 100)
        wait_until(mill, lambda: len(mill.read("outcomes")) == labelled, "all outcomes are there")
        wait_until(mill, lambda: len(mill.read("predictions")) == 900, "all predictions are there")
    done = json.loads(mill.cli("archive", str(mill.file), "--json", "--keep-versions", "0s"))
    assert done["tables"]["predictions"]["rows"] == 100
    assert_each_is_archived_once(mill, archive)
    reader.close()
    output = mill.folder / "again.arrow"
    again = json.loads(mill.cli("datasets", "rebuild", made["id"], "--output", str(output), "--json"))
    assert again["same"]
    assert hashlib.sha256(output.read_bytes()).hexdigest() == made["sha256"]

    first, second = json.loads(mill.cli("datasets", "list", "--json"))
    assert first["id"] == made["id"]
    changed = json.loads(mill.cli("datasets", "diff", first["id"][:6], second["id"], "--json"))
    assert changed["rows"] == [500, 300]
    assert changed["features"] == {"added": ["most"], "removed": ["orders"]}
    shown = mill.cli("datasets", "show", second["id"])
    assert "300 of 600 labelled events" in shown
    assert f"did you mean {made['id']!r}" in mill.cli("datasets", "show", made["id"][1:], code=2)
