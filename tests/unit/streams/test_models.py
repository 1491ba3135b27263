import logging
import pickle
from datetime import UTC, datetime

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tidemill.processors.online_inference import Artefact, OnlineInference, dump_model
from tidemill.schemas.builtin import MODEL_EVENT
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import ModelError
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams import models
from tidemill.streams.models import ModelFollower, announce, announcements, fetch_artefact

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CODEC = Codec(MODEL_EVENT, KnownSchemas())
TRAINING = {
    "estimator": "sklearn.linear_model.LogisticRegression",
    "features": ["height"],
    "classes": ["False", "True"],
    "trained_from": None,
    "trained_until": None,
    "training_offsets": [{"partition": 0, "first": 3, "last": 9}],
    "training_rows": 7,
    "evaluation_rows": 2,
    "metrics": {"log_loss": 0.5},
}


def fitted(labels=(False, True), seed=0):
    values = np.random.default_rng(seed).normal(size=(40, 1))
    return LogisticRegression().fit(values, np.where(values[:, 0] > 0, labels[1], labels[0]))


class World:
    """The two model topics, an inference stage, and a follower between them."""

    def __init__(self, plan, log, sender, stream, trusted=()):
        self.plan, self.log, self.sender, self.source = plan, log, sender, stream()
        self.stage = OnlineInference(plan.target)
        self.changes = []
        self.follower = ModelFollower(
            plan, self.stage, self.source, log, trusted, lambda version, served: self.changes.append((version, served))
        )

    def announce(self, artefact, **changed):
        """Put a model on the log as training does; `changed` is what the announcement says instead."""
        self.sender.sent.clear()
        event = announce(self.plan, artefact, TRAINING, NOW, self.sender)
        first = self.log.end("tides.model-artefacts", 0)
        for topic, key, value in self.sender.sent:
            if topic == "tides.model-artefacts":
                self.log.append(topic, 0, key, value)
        event = {**event, "artefact_offset": first, **changed}
        self.source.add(b"m", CODEC.encode_rows([event])[0])
        return event["model_version"]

    @property
    def serving(self):
        return None if self.stage.model is None else self.stage.model.version


@pytest.fixture
def world(plan, log, sender, stream):
    return World(plan, log, sender, stream)


def test_an_announcement_says_all_that_is_known(plan, sender):
    artefact = Artefact(b"x" * (models.CHUNK_BYTES + 1), "skops")
    event = announce(plan, artefact, TRAINING, NOW, sender)
    assert [(topic, key) for topic, key, _ in sender.sent] == [
        ("tides.model-artefacts", f"{artefact.sha256}/0".encode()),
        ("tides.model-artefacts", f"{artefact.sha256}/1".encode()),
        ("tides.models", artefact.sha256[:12].encode()),
    ]
    assert sender.flushed == 3
    (told,) = CODEC.decode([sender.sent[-1][2]]).table.to_pylist()
    assert told["artefact_offset"] == 7
    assert (told["artefact_chunks"], told["artefact_bytes"]) == (2, models.CHUNK_BYTES + 1)
    assert (told["model_version"], told["artefact_sha256"]) == (artefact.sha256[:12], artefact.sha256)
    assert (told["pipeline_version"], told["status"]) == (plan.version, "champion")
    assert told["announced_at"] == NOW
    assert event["features"] == ["height"]


def test_the_newest_model_is_served_at_start(world):
    world.announce(dump_model(fitted(seed=1)))
    newest = world.announce(dump_model(fitted(seed=2)))
    world.follower.start()
    assert world.serving == newest
    assert world.changes == [(newest, True)]
    assert world.source.waited == 1


def test_later_announcements_take_over_one_by_one(world):
    world.follower.start()
    assert world.serving is None
    world.follower.poll()
    first = world.announce(dump_model(fitted(seed=1)))
    world.follower.poll()
    assert world.serving == first
    second = world.announce(dump_model(fitted(seed=2)))
    world.follower.poll()
    assert (world.serving, world.changes) == (second, [(first, True), (second, True)])


def broken(kind):
    return {
        "another target": lambda world: world.announce(dump_model(fitted(("low", "high")))),
        "unknown features": lambda world: world.announce(dump_model(fitted()), features=["heigth"]),
        "no features": lambda world: world.announce(dump_model(fitted()), features=[]),
        "a time as a feature": lambda world: world.announce(dump_model(fitted()), features=["event_time"]),
        "altered bytes": lambda world: world.announce(dump_model(fitted()), artefact_sha256="0" * 64),
        "too few chunks": lambda world: world.announce(dump_model(fitted()), artefact_chunks=2),
        "too many chunks to be true": lambda world: world.announce(dump_model(fitted()), artefact_chunks=2**31 - 1),
        "a pickle": lambda world: world.announce(Artefact(pickle.dumps(fitted()), "pickle")),
        "no model at all": lambda world: world.announce(Artefact(b"garbage", "skops")),
        "not a model": lambda world: world.announce(dump_model("text")),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "another target",
        "unknown features",
        "no features",
        "a time as a feature",
        "altered bytes",
        "too few chunks",
        "too many chunks to be true",
        "a pickle",
        "no model at all",
        "not a model",
    ],
)
def test_a_model_that_is_refused_stays_out_and_the_older_one_in(world, caplog, kind):
    good = world.announce(dump_model(fitted()))
    world.follower.start()
    with caplog.at_level(logging.ERROR):
        refused = broken(kind)(world)
        world.follower.poll()
    assert world.serving == good
    assert world.changes[-1] == (refused, False)
    assert f"model {refused} is refused, {good} stays in service" in caplog.text


def test_at_start_the_newest_model_that_is_good_is_served(world, caplog):
    good = world.announce(dump_model(fitted(seed=1)))
    world.announce(Artefact(b"garbage", "skops"))
    with caplog.at_level(logging.ERROR):
        world.follower.start()
    assert world.serving == good
    assert "the prior stays in service" in caplog.text
    assert [served for _, served in world.changes] == [False, True]


def test_a_trusted_pickle_is_served(plan, log, sender, stream):
    artefact = Artefact(pickle.dumps(fitted()), "pickle")
    world = World(plan, log, sender, stream, trusted=[artefact.sha256])
    version = world.announce(artefact)
    world.follower.start()
    assert world.serving == version


def test_a_model_whose_attributes_raise_is_refused(world, monkeypatch, caplog):
    class Hostile:
        @property
        def predict_proba(self):
            raise RuntimeError("not today")

    monkeypatch.setattr(models, "load_model", lambda *_: Hostile())
    world.announce(dump_model(fitted()))
    with caplog.at_level(logging.ERROR):
        world.follower.start()
    assert world.serving is None
    assert "it cannot be asked for predictions (RuntimeError: not today)" in caplog.text


def test_retired_models_are_not_served(world):
    world.announce(dump_model(fitted()), status="retired")
    world.follower.start()
    world.announce(dump_model(fitted()), status="retired")
    world.follower.poll()
    assert (world.serving, world.changes) == (None, [])


def test_what_is_no_announcement_is_logged_and_passed_over(world, caplog):
    world.source.add(b"m", b"garbage")
    world.source.add(b"m", None)
    event = {
        **TRAINING,
        "model_version": "v",
        "status": "champion",
        "artefact_sha256": "0" * 64,
        "artefact_format": "skops",
    }
    event |= {"artefact_offset": 0, "artefact_chunks": 1, "artefact_bytes": 1, "features_fingerprint": "0" * 16}
    event |= {"pipeline_version": "p", "announced_at": 2**62}
    world.source.add(b"m", CODEC.encode_rows([event])[0])
    good = world.announce(dump_model(fitted()))
    with caplog.at_level(logging.ERROR):
        world.follower.start()
    assert world.serving == good
    assert "models[0]@0 is not an announcement" in caplog.text
    assert "models[0]@2 cannot be read" in caplog.text


def test_chunks_may_lie_among_those_of_others(plan, log, monkeypatch, sender, world):
    monkeypatch.setattr(models, "CHUNK_BYTES", 100)
    artefact = dump_model(fitted())
    event = announce(plan, artefact, TRAINING, NOW, sender)
    chunks = [(key, value) for topic, key, value in sender.sent if topic == "tides.model-artefacts"]
    assert len(chunks) > 10
    log.append("tides.model-artefacts", 0, chunks[0][0], b"an older upload that broke off")
    for number, (key, value) in enumerate(chunks):
        log.append("tides.model-artefacts", 0, None, b"?")
        log.append("tides.model-artefacts", 0, b"\xff/0", b"?")
        log.append("tides.model-artefacts", 0, f"{artefact.sha256}/x".encode(), b"?")
        log.append("tides.model-artefacts", 0, f"{artefact.sha256}/{len(chunks) + number}".encode(), b"?")
        log.append("tides.model-artefacts", 0, key, value)
    assert fetch_artefact(plan.topic("model-artefacts"), {**event, "artefact_offset": 1}, log) == artefact


def test_missing_chunks(plan, log):
    event = {
        "artefact_sha256": "ab",
        "artefact_offset": 0,
        "artefact_chunks": 2,
        "artefact_format": "skops",
        "model_version": "v",
    }
    log.append("tides.model-artefacts", 0, b"ab/0", b"x")
    with pytest.raises(ModelError, match="model v: expected 2 chunks on the log, found 1"):
        fetch_artefact(plan.topic("model-artefacts"), event, log)


def test_announcements_in_order(world):
    versions = [world.announce(dump_model(fitted(seed=seed))) for seed in range(3)]
    assert [event["model_version"] for event in announcements(world.source, wait=False)] == versions
    assert announcements(world.source, wait=True) == []


def test_each_model_is_called_in_its_own_way(plan, log, sender, stream):
    made = []

    def make_call():
        made.append(lambda score: score())
        return made[-1]

    world = World(plan, log, sender, stream)
    world.follower = ModelFollower(plan, world.stage, world.source, log, make_call=make_call)
    for seed in (0, 1):
        world.announce(dump_model(fitted(seed=seed)))
        world.follower.poll()
        assert world.stage.model.call is made[-1]
    assert len(made) == 2
