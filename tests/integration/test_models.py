"""Models: trained, announced, swapped while events flow, and refused where they must be."""

import json
import logging
import os
import pickle
import threading
from datetime import UTC, datetime

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from tidemill.loading import load_pipeline
from tidemill.processors.online_inference import dump_model
from tidemill.processors.online_inference.artefact import Artefact
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.models import announce
from tidemill.streams.rollout_log import RolloutLog


class Evil:
    """Runs code as soon as it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


class Announcer:
    """Announces models as `tidemill train` does."""

    def __init__(self, mill):
        self.plan = load_pipeline(str(mill.file)).plan()
        self.sender = Publisher(Connection(mill.bootstrap_servers))
        self.rollouts = RolloutLog(self.plan, Connection(mill.bootstrap_servers))

    def __call__(self, artefact, **changed):
        event = {
            "estimator": "test", "features": ["amount", "orders"], "classes": ["False", "True"], "training_offsets": [],
            "training_rows": 2, "evaluation_rows": 0, "metrics": {}, **changed,
        }  # fmt: skip
        return announce(self.plan, artefact, event, datetime.now(UTC), self.sender, self.rollouts)["model_version"]

    def raw(self, suffix, key, value):
        self.sender.send(self.plan.topic(suffix), key, value, partition=0)
        self.sender.flush()


def fitted(columns=("amount", "orders"), classes=(False, True)):
    """A model of two features that has seen little."""
    frame = pd.DataFrame([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]], columns=list(columns))
    return dump_model(LogisticRegression().fit(frame, [classes[0], classes[1], classes[1]]))


def paid(orders):
    return [{"id": order["id"], "paid": order["amount"] > 500} for order in orders]


def versions(mill):
    return {a.prediction["model_version"] for (a,) in mill.answers.values() if a.prediction}


def version_of_next(mill, orders, seed):
    """The version that answers orders which are sent now."""
    before = set(mill.answers)
    mill.send(orders.make(20, seed=seed, start=1_000 * seed))
    mill.wait(len(before) + 20)
    (version,) = {
        a.prediction["model_version"] for place, (a,) in mill.answers.items() if place not in before and a.prediction
    }
    return version


@pytest.fixture(scope="module")
def mill(make_mill, orders):
    """A pipeline that has answered 1,000 orders, by its prior, and then 1,000 by a model trained meanwhile."""
    mill = make_mill()
    with mill.worker():
        first = orders.make(1_000)
        mill.send(first)
        with mill.client() as client:
            client.send_labels(paid(first))
        mill.wait(1_000)
        before = versions(mill)
        done = threading.Event()

        def keep_sending():
            start = 1_000
            while not done.is_set():
                mill.send(orders.make(50, seed=start, start=start))
                start += 50
            mill.sent = start

        sender = threading.Thread(target=keep_sending)
        sender.start()
        mill.trained = json.loads(mill.cli("train", str(mill.file), "--json").splitlines()[0])
        count = len(mill.answers)
        while mill.trained["model_version"] not in versions(mill):
            count += 50
            mill.wait(count)
        done.set()
        sender.join()
        mill.wait(mill.sent)
        assert before == {"prior"}
        yield mill


def test_a_model_takes_over_while_events_flow(mill, orders):
    assert versions(mill) == {"prior", mill.trained["model_version"]}
    assert orders.check(mill) == mill.sent
    assert mill.audit()["holds"]
    for partition in range(3):
        mine = [mill.answers[place][0].prediction for place in sorted(mill.answers) if place[0] == partition]
        served = [row["model_version"] for row in mine if row]
        assert served == sorted(served, key=lambda version: version != "prior"), "there is no way back to the prior"


def test_training_reports_what_it_saw(mill):
    assert mill.trained["training_rows"] + mill.trained["evaluation_rows"] > 900
    metrics = mill.trained["metrics"]
    assert metrics["log_loss"] < metrics["base_log_loss"]
    assert mill.trained["features"] == ["amount", "orders"]


def test_models_list(mill):
    listed = json.loads(mill.cli("models", "list", mill.name, "--json"))
    assert listed[0]["model_version"] == mill.trained["model_version"]
    assert mill.trained["model_version"] in mill.cli("models", "list", mill.name)


def test_models_show(mill):
    version = mill.trained["model_version"]
    shown = json.loads(mill.cli("models", "show", mill.name, version, "--json"))
    assert shown["artefact_sha256"] == mill.trained["artefact_sha256"]
    features, predictions, outcomes = shown["reference"]
    assert features["rows"] == shown["training_rows"]
    assert sorted(features["columns"]) == sorted(shown["features"])
    assert predictions["rows"] == outcomes["rows"] == shown["evaluation_rows"]
    assert outcomes["metrics"]["log_loss"] == pytest.approx(shown["metrics"]["log_loss"])
    told = mill.cli("models", "show", mill.name, version)
    assert all(name in told for name in ("Features", "Predictions", "Outcomes", "most frequent", "calibration_error"))


def test_an_unsafe_pickle_is_refused_and_runs_nothing(mill, orders, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    evil = Artefact(pickle.dumps(Evil(tmp_path / "evil")), "pickle")
    version = Announcer(mill)(evil)
    assert version_of_next(mill, orders, 11) == mill.trained["model_version"]
    assert not (tmp_path / "evil").exists()
    assert f"model {version} is refused, {mill.trained['model_version']} stays in service" in caplog.text
    assert f"--trust-model {evil.sha256}" in caplog.text


def test_altered_bytes_are_refused(mill, orders, caplog):
    caplog.set_level(logging.ERROR)
    announcer = Announcer(mill)
    artefact = fitted()
    announcer.raw("model-artefacts", f"{artefact.sha256}/0".encode(), b"altered" + artefact.data)
    offset = announcer.sender.first_offset(announcer.plan.topic("model-artefacts"))
    codec = mill.codec_of_model_events()
    (row,) = codec.decode([mill.read("models")[0].value()]).table.to_pylist()
    row |= {"metrics": dict(row["metrics"]), "model_version": artefact.sha256[:12]}
    row |= {"artefact_sha256": artefact.sha256, "artefact_offset": offset, "artefact_chunks": 1}
    announcer.raw("models", b"altered", codec.encode_rows([row])[0])
    assert version_of_next(mill, orders, 12) == mill.trained["model_version"]
    assert "it was altered, do not use it" in caplog.text


@pytest.mark.parametrize(
    ("artefact", "changed"),
    [
        (Artefact(b"not a model", "skops"), {}),
        (Artefact(b"PK\x03\x04 half a zip", "skops"), {}),
        (dump_model({"not": "a model"}), {}),
        (fitted(), {"features": ["no_such_feature", "orders"]}),
        (fitted(classes=("x", "y")), {}),
    ],
    ids=["not a zip", "half a zip", "no estimator", "unknown feature", "other classes"],
)
def test_what_cannot_serve_is_refused(mill, orders, artefact, changed, caplog):
    version = Announcer(mill)(artefact, **changed)
    seed = 20 + len(mill.read("models"))
    assert version_of_next(mill, orders, seed) == mill.trained["model_version"]
    assert f"model {version} is refused" in caplog.text


def test_garbage_among_the_announcements_is_passed_over(mill, orders):
    announcer = Announcer(mill)
    for value in (b"garbage", b"", None):
        announcer.raw("models", b"garbage", value)
    announcer.raw("model-artefacts", b"garbage/x", b"garbage")
    version = announcer(fitted())
    assert version_of_next(mill, orders, 50) == version
    assert mill.audit()["holds"]


def test_a_river_model_serves_without_anyones_trust(make_mill, orders):
    from river import linear_model

    model = linear_model.LogisticRegression()
    for order in orders.make(50):
        model.learn_one({"amount": order["amount"] / 1000, "orders": 1}, order["amount"] > 500)
    artefact = dump_model(model)
    mill = make_mill()
    with mill.worker():
        version = Announcer(mill)(artefact)
        assert version_of_next(mill, orders, 1) == version
        rows = [a.prediction for (a,) in mill.answers.values() if a.prediction]
        assert len({row["probability_true"] for row in rows}) > 1
        assert all(row["probability_true"] + row["probability_false"] == pytest.approx(1) for row in rows)


def test_a_model_that_raises_rejects_only_what_makes_it_raise(make_mill, orders):
    """scikit-learn's own refuses null; the others of the batch are answered."""
    source = make_mill.source.replace('features=["amount", "orders"]', 'features=["amount", "recent"]')
    mill = make_mill(source)
    with mill.worker():
        Announcer(mill)(fitted(["amount", "recent"]), features=["amount", "recent"])
        mill.send(orders.make(300))
        mill.wait(300)
    first = [row["event_id"] for row in mill.rows("features") if row["recent"] is None]
    refused = [a for (a,) in mill.answers.values() if a.rejection and a.rejection["stage"] == "online_inference"]
    assert len(refused) == len(first) > 10
    assert {a.rejection["reason"] for a in refused} == {"model_raised"}
    events = {(m.partition(), m.offset()): m.value() for m in mill.read("events")}
    for answer in refused:
        place = int(answer.rejection["partition"]), int(answer.rejection["offset"])
        assert answer.message.value() == events[place]
    assert mill.audit()["holds"]
