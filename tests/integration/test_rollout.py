"""Models that earn their place, on a real broker under traffic: shadow, canary, champion, and back."""

import json
import threading
import time
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tidemill.loading import load_pipeline
from tidemill.processors.online_inference import dump_model
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.models import announce
from tidemill.streams.rollout_judge import judging
from tidemill.streams.rollout_log import RolloutLog

SECONDS = 60
STEPS = "rollout=tm.Rollout(shadow=60, canary=0.3, canary_for=60, probation=60, least_outcomes=60),"


def wait_until(holds, what):
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"waited {SECONDS} s until {what}"
        time.sleep(0.05)


class Raises:
    """Fails on every event, as soon as it is in production."""

    classes_ = (False, True)

    def predict_proba(self, frame):
        raise RuntimeError("no such table")


def fitted(bound, seed=0):
    """A model that believes that orders above the bound are paid."""
    chance = np.random.default_rng(seed)
    frame = pd.DataFrame({"amount": chance.uniform(0, 1000, 400), "orders": chance.integers(0, 9, 400)})
    return LogisticRegression(max_iter=1000).fit(frame, frame["amount"] > bound)


class Stage:
    """A mill under traffic: orders and their labels come until it is left."""

    def __init__(self, mill, orders, poison):
        self.mill, self.orders, self.poison, self.sent = mill, orders, poison, 0
        self.plan, self.connection = load_pipeline(str(mill.file)).plan(), Connection(mill.bootstrap_servers)
        self.rollouts = RolloutLog(self.plan, self.connection)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._thread.join()

    def _send(self):
        with self.mill.client() as client:
            while not self._done.wait(0.02):
                made = self.orders.make(20, seed=self.sent, start=self.sent)
                client.send_many(made)
                client.send_labels([{"id": order["id"], "paid": order["amount"] > 500} for order in made])
                client.flush()
                self.sent += 20

    def announce(self, artefact, **said):
        event = {
            "estimator": "test", "features": ["amount", "orders"], "classes": ["False", "True"], "training_offsets": [],
            "training_rows": 2, "evaluation_rows": 0, "metrics": {}, **said,
        }  # fmt: skip
        sender = Publisher(self.connection)
        return announce(self.plan, artefact, event, datetime.now(UTC), sender, self.rollouts)["model_version"]

    def wait_for(self, version, status):
        def stands():
            found = self.rollouts.rollout().versions.get(version)
            return found is not None and found.status == status

        wait_until(lambda: self.mill._alive() or stands(), f"model {version} is {status}")

    def wait_for_answers_of(self, version):
        self.mill.wait(len(self.mill.answers))
        seen = set(self.mill.answers)

        def answered():
            self.mill.wait(len(self.mill.answers))
            made = [a for place, (a, *_) in self.mill.answers.items() if place not in seen]
            return any(a.prediction and a.prediction["model_version"] == version for a in made)

        wait_until(answered, f"model {version} answers")


@pytest.fixture
def stage(make_mill, orders):
    mill = make_mill(make_mill.source.replace("    partitions=3,", f"    partitions=3,\n    {STEPS}"))
    plan = load_pipeline(str(mill.file)).plan()
    connection, poison = Connection(mill.bootstrap_servers), dump_model(Raises())
    with mill.worker(plan.stages, trusted_models=(poison.sha256,)), judging(plan, connection, lambda: True):
        yield Stage(mill, orders, poison)


def test_from_shadow_to_champion_and_back_under_traffic(stage):
    mill = stage.mill
    old = stage.announce(dump_model(fitted(800)))
    with stage:
        stage.wait_for_answers_of(old)
        new = stage.announce(dump_model(fitted(500)), status="shadow", by="gates")
        stage.wait_for(new, "canary")
        stage.wait_for_answers_of(new)
        stage.wait_for(new, "champion")
        stage.wait_for(old, "retired")
        promoted = datetime.now(UTC)
        said = mill.cli("models", "rollback", mill.name, "--reason", "refunds are up")
        assert f"{old} champion" in said
        assert f"{new} rolled back: refunds are up" in said
        stage.wait_for_answers_of(old)
    answers = mill.wait(stage.sent)
    assert {a.prediction["model_version"] for (a,) in answers.values() if a.prediction} <= {old, new, "prior"}
    audit = mill.audit()
    assert (audit["holds"], audit["missing"], audit["doubled"]) == (True, 0, 0)
    # Who answered is what the share of keys and the log say: in every stage, each event has both answers.
    beside = mill.rows("shadow-predictions")
    places = [(row["source_partition"], row["source_offset"]) for row in beside]
    assert len(set(places)) == len(places)
    for row, place in zip(beside, places, strict=True):
        (answer,) = answers[place]
        served = answer.prediction["model_version"]
        assert {served, row["model_version"]} == {old, new}
        assert (row["role"] == "champion") == (row["stage"] == 2 and served == new)
    by_key = {}
    for row, place in zip(beside, places, strict=True):
        if row["stage"] == 2 and row["event_key"] is not None:
            by_key.setdefault(row["event_key"], set()).add(answers[place][0].prediction["model_version"])
    assert all(len(versions) == 1 for versions in by_key.values()), "a key keeps its model"
    assert {version for versions in by_key.values() for version in versions} == {old, new}
    statuses = [(e["model_version"], e["status"], e["by"]) for e in stage.rollouts.read()]
    assert statuses[:6] == [
        (old, "champion", "train"),
        (new, "shadow", "gates"),
        (new, "canary", "judge"),
        (new, "champion", "judge"),
        (old, "shadow", "judge"),
        (old, "retired", "judge"),
    ]
    assert [(v, s) for v, s, _ in statuses[6:]] == [(old, "champion"), (new, "rolled_back")]
    then = json.loads(mill.cli("models", "at", mill.name, promoted.isoformat(), "--json"))
    assert [(row["role"], row["version"]) for row in then["serving"]] == [("champion", new)]
    assert json.loads(mill.cli("verify", mill.name, "--json"))["holds"]
    listed = mill.cli("models", "list", mill.name)
    assert "rolled back" in listed
    assert "did you mean" in mill.cli("models", "promote", mill.name, f"{old[:-1]}x", code=2)
    assert "is the champion" in mill.cli("models", "retire", mill.name, old, code=2)
    # Whoever writes past the log breaks its chain.
    Publisher(stage.connection).send(f"{mill.name}.models", b"x", mill.read("models")[0].value(), partition=0)
    assert "does NOT hold" in mill.cli("verify", mill.name, code=1)


def test_a_canary_that_raises_is_rolled_back_by_itself(stage):
    mill = stage.mill
    good = stage.announce(dump_model(fitted(500)))
    with stage:
        stage.wait_for_answers_of(good)
        bad = stage.announce(stage.poison, status="canary", share=0.5)
        stage.wait_for(bad, "rolled_back")
        stage.wait_for_answers_of(good)
    answers = mill.wait(stage.sent)
    assert {a.prediction["model_version"] for (a,) in answers.values() if a.prediction} <= {good, "prior"}
    reasons = {a.rejection["reason"] for (a,) in answers.values() if a.rejection}
    assert reasons <= {"out_of_range", "duplicate_id"}, "no event pays for the canary"
    failed = [row for row in mill.rows("shadow-predictions") if row["role"] == "canary"]
    assert {row["failure"] for row in failed} == {
        f"model_raised: the model raised RuntimeError: no such table (model {bad})"
    }
    assert mill.audit()["holds"]
    (event,) = [e for e in stage.rollouts.read() if e["status"] == "rolled_back"]
    assert event["by"] == "judge"
    assert "fails where" in event["reason"]
