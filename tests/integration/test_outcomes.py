"""Labels and predictions on a real broker: joined once, whatever comes first and whoever is killed."""

import json
import random
import time
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta

import pytest

from tidemill.streams.kafka.reader import record_of
from tidemill.streams.rejections import StoredRejection

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
    features=[tm.fields("amount"), tm.window("customer", over="1h", orders=tm.count())],
    labels=tm.Labels(payment, id="id", label=pl.col("paid"), classes=["no", "yes"], time="at", within="2h"),
    model=tm.Model(LogisticRegression(), features=["amount", "orders"], prior={"no": 0.25, "yes": 0.75}),
    partitions=3,
)
"""
START = datetime(2024, 1, 1, tzinfo=UTC)
ORDERS = 1_500


def make(seed=3):
    """Orders, labels in the order in which they are sent, and what must come of each order."""
    chance = random.Random(seed)
    orders = [
        {"id": f"o{n}", "customer": f"c{n % 11}", "at": START + timedelta(minutes=n), "amount": n / 4}
        for n in range(ORDERS)
    ]
    labels = []
    for order in orders:
        for _ in range(chance.choice([0, 1, 1, 2, 3])):
            at = order["at"] + timedelta(minutes=chance.randint(1, 150))
            labels.append({"id": order["id"], "paid": chance.choice(["no", "yes"]), "at": at})
    labels += [{"id": f"nobody{n}", "paid": "yes", "at": START + timedelta(minutes=n)} for n in range(50)]
    chance.shuffle(labels)
    return orders, labels


def expected(orders, labels):
    outcomes, late = defaultdict(list), Counter()
    times = {order["id"]: order["at"] for order in orders}
    for label in labels:
        known = times.get(label["id"])
        if known is not None and label["at"] - known > timedelta(hours=2):
            late[label["id"], label["at"]] += 1
        elif known is not None and (not outcomes[label["id"]] or outcomes[label["id"]][-1][0] != label["paid"]):
            outcomes[label["id"]].append((label["paid"], label["at"], len(outcomes[label["id"]])))
    return {event: rows for event, rows in outcomes.items() if rows}, late


@pytest.fixture(scope="module")
def mill(make_mill):
    return make_mill(SOURCE)


def outcomes(mill):
    return mill.read("outcomes")


def wait_for(mill, count):
    deadline = time.monotonic() + 90
    while len(found := outcomes(mill)) < count:
        assert time.monotonic() < deadline, f"{len(found)} of {count} outcomes:\n{mill.log()[-3000:]}"
        time.sleep(0.2)
    return found


def refusals(mill):
    """By reason: how often each label was refused."""
    rejected = [StoredRejection.of(record_of(message)) for message in mill.read("rejected")]
    rejected = [rejection for rejection in rejected if rejection.stage == "outcomes"]
    labels = mill.codec("labels").decode([rejection.record.value for rejection in rejected]).table.to_pylist()
    found = defaultdict(Counter)
    for rejection, label in zip(rejected, labels, strict=True):
        found[rejection.reason][label["id"], label["at"]] += 1
    return found


def wait_for_refusals(mill, late, unknown):
    deadline = time.monotonic() + 90
    while True:
        found = refusals(mill)
        told = found["late_label"] + found["unknown_id"]
        nobodies = sum(n for (event, _), n in told.items() if event.startswith("nobody"))
        if nobodies >= unknown and all(told[label] >= n for label, n in late.items()):
            return found
        assert time.monotonic() < deadline, f"{sum(told.values())} labels were refused:\n{mill.log()[-3000:]}"
        time.sleep(0.2)


def test_each_label_is_joined_once_although_workers_are_killed(mill):
    orders, labels = make()
    wanted, late = expected(orders, labels)
    total = sum(map(len, wanted.values()))
    supervisor = mill.run("--max-batch", "100")
    mill.wait(0)
    with mill.client() as client:
        for part in range(5):
            cut = len(labels) // 5 + 1
            # Some labels are there before their orders, most come after them.
            client.send_labels(labels[part * cut : (part + 1) * cut])
            client.send_many(orders[part * 300 : (part + 1) * 300])
            client.flush()
            if part in (1, 3):
                wait_for(mill, part * 100)
                (worker,) = mill.wait_for_workers(supervisor, 1)
                worker.kill()
    found = wait_for(mill, total)
    codec = mill.codec("outcomes")
    rows = codec.decode([message.value() for message in found]).table.to_pylist()
    seen = defaultdict(list)
    for message, row in zip(found, rows, strict=True):
        assert message.key() == row["event_id"].encode()
        assert row["amount"] == int(row["event_id"][1:]) / 4
        assert row["model_version"] == "prior"
        seen[row["event_id"]].append((row["label"], row["label_time"], row["revision"]))
    assert seen == wanted
    refused = wait_for_refusals(mill, late, unknown=50)
    # Whether the horizon of a label that waited was over before its order came, depends on the partitions' speed.
    assert refused["late_label"] <= late
    told = refused["late_label"] + refused["unknown_id"]
    assert Counter({label: told[label] for label in late}) == late
    assert sum(n for (event, _), n in refused["unknown_id"].items() if event.startswith("nobody")) == 50
    rejected = [StoredRejection.of(record_of(message)) for message in mill.read("rejected")]
    assert len({(r.partition, r.offset) for r in rejected}) == len(rejected)
    assert mill.audit()["holds"]
    assert mill.stop(supervisor) == 0
    assert len(outcomes(mill)) == total


def test_what_is_shown_of_them(mill):
    lines = mill.cli("tail", mill.name, "outcomes", "--since", "beginning", "-n", "2", "--json").splitlines()
    assert set(json.loads(lines[0])) >= {"event_id", "label", "label_delay", "revision", "features", "probabilities"}
    with mill.client() as client, client.outcomes(since="beginning", timeout=5) as found:
        assert next(iter(found)).label in ("no", "yes")
