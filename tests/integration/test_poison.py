"""Poisoned candidates on a real broker under traffic: none becomes champion to stay, and the log says why."""

import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from itertools import groupby

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from tests.conftest import wait_until
from tidemill.cli.processes import prepare_cluster
from tidemill.loading import load_pipeline
from tidemill.processors.online_inference import dump_model
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.models import announce
from tidemill.streams.rollout_judge import judging
from tidemill.streams.rollout_log import RolloutLog

SOURCE = """
import os
import time

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

import tidemill as tm


class Kills:
    classes_ = (False, True)

    def predict_proba(self, frame):
        os._exit(3)


class Hangs:
    classes_ = (False, True)

    def predict_proba(self, frame):
        time.sleep(3600)


class Cheats:
    classes_ = (False, True)

    def predict_proba(self, frame):
        return np.ones((len(frame), 2))


order = {
    "type": "record", "name": "Order", "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount", "type": "double"},
        {"name": "shop", "type": "string"},
        {"name": "settled", "type": "double", "doc": "Known with the label: in old orders, and 0 in new ones."},
        {"name": "grade", "type": ["null", "double"], "default": None},
    ],
}
paid = {"type": "record", "name": "Paid", "fields": [
    {"name": "id", "type": "string"}, {"name": "paid", "type": "boolean"}]}
pipeline = tm.Pipeline(
    "PIPELINE",
    tm.Events(order, key="id", time="at", id="id"),
    features=[tm.fields("amount", "shop", "settled", "grade"), tm.expression(is_b=pl.col("shop") == "B")],
    labels=tm.Labels(paid, id="id", label=pl.col("paid")),
    model=tm.Model(LogisticRegression(), ["settled"]),
    gates=tm.Gates(slices={"shop": 0.05}),
    rollout=tm.Rollout(shadow=80, canary=0.3, canary_for=80, probation="1h", least_outcomes=80, deadline="3s"),
    partitions=2,
)
"""
OLD, NEW = datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)


def orders_of(numbers, *, old=False):
    """Orders above 500 are paid; every eighth is of shop B, every fifth of the new ones has no grade."""
    made, labels = [], []
    for n in numbers:
        amount = float(n * 7919 % 1000)
        order = {"id": f"{'old' if old else 'o'}{n}", "at": (OLD if old else NEW) + timedelta(seconds=n)}
        order |= {"amount": amount, "shop": "B" if n % 8 == 0 else "A", "settled": float(old and amount > 500)}
        made.append(order | {"grade": 1.0 if old or n % 5 else None})
        labels.append({"id": order["id"], "paid": amount > 500})
    return made, labels


class World:
    """The pipeline under traffic, with a worker process and a judge."""

    def __init__(self, mill, trusted):
        self.mill, self.trusted, self.sent = mill, trusted, 0
        self.plan, self.connection = load_pipeline(str(mill.file)).plan(), Connection(mill.bootstrap_servers)
        self.rollouts = RolloutLog(self.plan, self.connection)
        self.done = threading.Event()
        self.traffic = threading.Thread(target=self._send)

    def _send(self):
        with self.mill.client() as client:
            while not self.done.wait(0.1):
                made, labels = orders_of(range(self.sent, self.sent + 20))
                client.send_many(made)
                client.send_labels(labels)
                client.flush()
                self.sent += 20

    def announce(self, artefact, features, **said):
        event = {
            "estimator": "test", "features": features, "classes": ["False", "True"], "training_offsets": [],
            "training_rows": 2, "evaluation_rows": 0, "metrics": {}, "by": "ann", **said,
        }  # fmt: skip
        sender = Publisher(self.connection)
        return announce(self.plan, artefact, event, datetime.now(UTC), sender, self.rollouts)["model_version"]

    def reason(self, version, status):
        """Why a model has got this status, once it has."""

        def stands():
            assert self.mill.processes[0].poll() is None, self.mill.log()[-3000:]
            found = self.rollouts.rollout().versions.get(version)
            return found if found is not None and found.status == status else None

        said = wait_until(stands, f"model {version} is {status}", 300).event
        assert said["by"] == "judge"
        return said["reason"]


def champion_model():
    return dump_model(DummyClassifier().fit(pd.DataFrame({"amount": [1.0, 2.0]}), [False, True]))


@pytest.fixture(scope="module")
def world(make_mill):
    mill = make_mill(SOURCE)
    load_pipeline(str(mill.file))
    kinds = sys.modules["orders"]
    trusted = {name: dump_model(getattr(kinds, name)()) for name in ("Kills", "Hangs", "Cheats")}
    prepare_cluster(load_pipeline(str(mill.file)).plan(), Connection(mill.bootstrap_servers))
    mill.run(*(a for artefact in trusted.values() for a in ("--trust-model", artefact.sha256)))
    found = World(mill, trusted)
    old, labels = orders_of(range(300), old=True)
    found.champion = found.announce(champion_model(), ["amount"])
    with mill.client() as client:
        client.send_many(old)
        client.send_labels(labels)
        client.flush()
    mill.wait(len(old), 300)
    found.traffic.start()
    with judging(found.plan, found.connection, lambda: True):
        yield found
        found.done.set()
        found.traffic.join()


def test_a_model_that_learnt_what_comes_with_the_label_goes_as_shadow(world):
    """Trained by hand on old orders, of which it is known whether they were settled."""
    bounds = ["--from", "2023-01-01T00:00", "--until", "2023-01-01T00:04", "--evaluate-until", "2023-01-02"]
    made = json.loads(world.mill.cli("train", str(world.mill.file), *bounds, "--json").splitlines()[0])
    assert made["status"] == "shadow"
    assert made["metrics"]["accuracy"] == 1.0, "nothing is wrong with it where labels are known"
    reason = world.reason(made["model_version"], "retired")
    assert f"is worse than model {world.champion}: log loss" in reason
    assert '"better_at_most": -' in reason


def test_a_model_that_is_worse_in_a_slice_goes_as_shadow_and_as_champion(world):
    frame = pd.DataFrame({"amount": np.arange(1000.0), "is_b": [0.0, 1.0] * 500})
    said = (frame["amount"] > 500) ^ (frame["is_b"] > 0) ^ (frame.index % 20 < 2)
    tree = DecisionTreeClassifier(max_leaf_nodes=4, min_samples_leaf=100).fit(frame, said)
    biased = world.announce(dump_model(tree), ["amount", "is_b"], status="shadow")
    reason = world.reason(biased, "retired")
    assert "in shop=B: log loss" in reason
    assert "(0.05 worse is tolerated)" in reason
    world.mill.cli("models", "promote", world.mill.name, biased, "--reason", "by mistake")
    assert "in shop=B: log loss" in world.reason(biased, "rolled_back")
    assert world.rollouts.rollout().champion.version == world.champion


def test_a_model_that_fails_in_production_goes_as_shadow_and_as_champion(world):
    """Its training had no order without a grade."""
    frame = pd.DataFrame({"amount": np.arange(1000.0), "grade": 1.0})
    fails = world.announce(
        dump_model(LogisticRegression().fit(frame, frame["amount"] > 500)), ["amount", "grade"], status="shadow"
    )
    reason = world.reason(fails, "retired")
    assert "fails where" in reason
    assert "NaN" in reason
    world.mill.cli("models", "promote", world.mill.name, fails, "--reason", "by mistake")
    assert "fails where" in world.reason(fails, "rolled_back")


@pytest.mark.parametrize(
    ("name", "told"), [("Kills", "has died 3 times"), ("Hangs", "model_deadline"), ("Cheats", "add up to 1")]
)
def test_a_model_that_takes_the_worker_along_or_gives_nonsense_goes(world, name, told):
    bad = world.announce(world.trusted[name], ["amount"], status="canary", share=0.3)
    reason = world.reason(bad, "rolled_back")
    assert "fails where" in reason
    assert told in reason


def test_afterwards_all_is_answered_once_by_the_model_that_the_log_names(world):
    mill = world.mill
    world.done.set()
    world.traffic.join()
    answers = mill.wait(world.sent + 300)
    audit = mill.audit()
    assert (audit["holds"], audit["missing"], audit["doubled"]) == (True, 0, 0)
    records = world.rollouts.read()
    champions = [r["model_version"] for r in records if r["status"] == "champion"]
    assert set(champions[::2]) == {world.champion}
    assert len(champions) == 5
    for partition in range(2):
        mine = [answers[place][0] for place in sorted(answers) if place[0] == partition]
        served = [version for version, _ in groupby(a.prediction["model_version"] for a in mine if a.prediction)]
        later = iter(champions)
        assert all(version in later for version in served), (served, champions)
    refused = {a.rejection["reason"] for (a,) in answers.values() if a.rejection}
    assert refused == {"model_raised"}, "only the champion that failed for a moment"
    assert json.loads(mill.cli("verify", mill.name, "--json"))["holds"]
    for record in records:
        if record["status"] == "champion":
            then = json.loads(mill.cli("models", "at", mill.name, record["announced_at"].isoformat(), "--json"))
            assert record["model_version"] in [row["version"] for row in then["serving"]]
    rows = {a.prediction["model_version"]: a.prediction for (a,) in answers.values() if a.prediction}
    assert set(rows) == set(champions)
    for version, row in rows.items():
        found = json.loads(mill.cli("explain", mill.name, row["event_id"], "--json"))
        assert found["prediction"]["model_version"] == version
        steps = [step["status"] for step in found["model_history"]]
        assert steps[-1] == ("champion" if version == world.champion else "rolled_back")
