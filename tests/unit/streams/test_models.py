import logging
import pickle
from datetime import UTC, datetime

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tidemill.processors.online_inference import Artefact, OnlineInference, dump_model
from tidemill.processors.rollout.moves import rolled_back, to_canary, to_champion
from tidemill.schemas.builtin import MODEL_EVENT
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import ModelError
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams import models
from tidemill.streams.memory import MemoryLog, MemoryReader, MemorySender, MemoryStream
from tidemill.streams.models import ModelFollower, announce, announcements, fetch_artefact
from tidemill.streams.rollout_log import RolloutLog

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

    def __init__(self, plan, trusted=(), **options):
        self.plan = plan
        self.log = MemoryLog({plan.topic("models"): 1, plan.topic("model-artefacts"): 1})
        self.rollouts = RolloutLog(plan, self.log)
        self.stage = OnlineInference(plan.target)
        self.changes = []
        self.follower = ModelFollower(
            plan,
            self.stage,
            MemoryStream(self.log, plan.topic("models")),
            MemoryReader(self.log),
            trusted,
            lambda version, served: self.changes.append((version, served)),
            **options,
        )

    def announce(self, artefact, **changed):
        """Put a model on the log as training does; `changed` is what the announcement says instead."""
        elsewhere = RolloutLog(self.plan, MemoryLog({self.plan.topic("models"): 1}))
        event = announce(self.plan, artefact, TRAINING, NOW, MemorySender(self.log), elsewhere)
        self.say({**event, "sequence": -1, "previous": "", **changed})
        return event["model_version"]

    def say(self, event):
        """Put a record on the log, whatever the log would say of it."""
        self.log.append(self.plan.topic("models"), b"m", CODEC.encode_rows([event])[0])

    def move(self, make):
        """As `tidemill models` does."""
        rollout = self.rollouts.rollout()
        self.rollouts.append(make(rollout), expect=len(rollout.records))
        self.follower.poll()

    @property
    def serving(self):
        return None if self.stage.model is None else self.stage.model.version

    @property
    def challengers(self):
        return [(c.model.version, c.share) for c in self.stage.challengers]


@pytest.fixture
def world(plan):
    return World(plan)


def test_an_announcement_says_all_that_is_known(plan):
    log = MemoryLog({plan.topic("models"): 1, plan.topic("model-artefacts"): 1})
    log.append(plan.topic("model-artefacts"), b"x", b"x")
    artefact = Artefact(b"x" * (models.CHUNK_BYTES + 1), "skops")
    event = announce(plan, artefact, TRAINING, NOW, MemorySender(log), RolloutLog(plan, log))
    chunks = list(log.read("tides.model-artefacts", 0, 1))
    assert [r.key for r in chunks] == [f"{artefact.sha256}/0".encode(), f"{artefact.sha256}/1".encode()]
    (record,) = log.read("tides.models", 0)
    assert record.key == artefact.sha256[:12].encode()
    (told,) = CODEC.decode([record.value]).table.to_pylist()
    assert told["artefact_offset"] == 1
    assert (told["artefact_chunks"], told["artefact_bytes"]) == (2, models.CHUNK_BYTES + 1)
    assert (told["model_version"], told["artefact_sha256"]) == (artefact.sha256[:12], artefact.sha256)
    assert (told["pipeline_version"], told["status"], told["by"]) == (plan.version, "champion", "train")
    assert told["announced_at"] == NOW
    assert (told["sequence"], told["previous"]) == (0, "0" * 64)
    assert event["features"] == ["height"]


def test_the_newest_model_is_served_at_start(world):
    world.announce(dump_model(fitted(seed=1)))
    newest = world.announce(dump_model(fitted(seed=2)))
    world.follower.start()
    assert world.serving == newest
    assert world.changes == [(newest, True)]


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


def test_a_trusted_pickle_is_served(plan):
    artefact = Artefact(pickle.dumps(fitted()), "pickle")
    world = World(plan, trusted=[artefact.sha256])
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
    world.log.append("tides.models", b"m", b"garbage")
    world.log.append("tides.models", b"m", None)
    event = {
        **TRAINING,
        "model_version": "v",
        "status": "champion",
        "artefact_sha256": "0" * 64,
        "artefact_format": "skops",
    }
    event |= {"artefact_offset": 0, "artefact_chunks": 1, "artefact_bytes": 1, "features_fingerprint": "0" * 16}
    event |= {"pipeline_version": "p", "announced_at": 2**62}
    world.say(event)
    good = world.announce(dump_model(fitted()))
    with caplog.at_level(logging.ERROR):
        world.follower.start()
    assert world.serving == good
    assert "models[0]@0 is not an announcement" in caplog.text
    assert "models[0]@2 cannot be read" in caplog.text


def test_chunks_may_lie_among_those_of_others(plan, log, monkeypatch, world):
    monkeypatch.setattr(models, "CHUNK_BYTES", 100)
    artefact = dump_model(fitted())
    event = announce(plan, artefact, TRAINING, NOW, MemorySender(world.log), world.rollouts)
    chunks = [(r.key, r.value) for r in world.log.read("tides.model-artefacts", 0)]
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


def test_announcements_in_order(world, plan):
    versions = [world.announce(dump_model(fitted(seed=seed))) for seed in range(3)]
    stream = MemoryStream(world.log, plan.topic("models"))
    assert [event["model_version"] for event in announcements(stream, wait=False)] == versions
    assert announcements(stream, wait=True) == []


def test_each_model_is_called_in_its_own_way(plan):
    made = []

    def make_call(seconds):
        made.append((seconds, lambda score: score()))
        return made[-1][1]

    world = World(plan, make_call=make_call)
    for seed in (0, 1):
        world.announce(dump_model(fitted(seed=seed)))
        world.follower.poll()
        assert world.stage.model.call is made[-1][1]
    world.announce(dump_model(fitted(seed=2)), status="shadow")
    world.follower.poll()
    assert world.stage.challengers[0].model.call is made[-1][1]
    assert [seconds for seconds, _ in made] == [plan.model_deadline_seconds] * 2 + [plan.challenger_deadline_seconds]


def test_a_model_takes_every_role_in_turn(world):
    first = world.announce(dump_model(fitted(seed=1)))
    second = world.announce(dump_model(fitted(seed=2)), status="shadow")
    world.follower.start()
    assert (world.serving, world.challengers) == (first, [(second, 0.0)])
    assert world.stage.challengers[0].stage == 1
    world.move(lambda r: to_canary(r, second, 0.25, by="ann", reason=""))
    assert (world.serving, world.challengers) == (first, [(second, 0.25)])
    scorer = world.stage.challengers[0].model.scorer
    world.move(lambda r: to_champion(r, second, by="ann", reason="", probation=True))
    assert (world.serving, world.challengers) == (second, [(first, 0.0)])
    assert world.stage.model.scorer is scorer, "it need not be loaded again"
    world.move(lambda r: rolled_back(r, by="ann", reason="worse"))
    assert (world.serving, world.challengers) == (first, [])
    assert world.changes == [(first, True), (second, True), (first, True)]


def test_after_a_restart_the_roles_are_those_of_the_log(world):
    first = world.announce(dump_model(fitted(seed=1)))
    second = world.announce(dump_model(fitted(seed=2)))
    world.rollouts.append(rolled_back(world.rollouts.rollout(), by="ann", reason=""))
    world.follower.start()
    assert world.serving == first
    assert world.follower.rollout.versions[second].status == "rolled_back"


def test_a_challenger_that_is_refused_fails_on_every_event_and_the_champion_stays(world, caplog):
    good = world.announce(dump_model(fitted()))
    with caplog.at_level(logging.ERROR):
        bad = world.announce(Artefact(b"garbage", "skops"), status="shadow")
        world.follower.start()
    assert (world.serving, world.challengers) == (good, [(bad, 0.0)])
    assert "the model is not a skops file" in world.stage.challengers[0].model.fault
    assert world.changes == [(bad, False), (good, True)] or world.changes == [(good, True), (bad, False)]


class Deaths:
    """As `LastCalls` has them: what the process died of, by key."""

    def __init__(self, **deaths):
        self.found, self.asked = deaths, []

    def deaths(self, key):
        return self.found.get(key.partition("/")[0], 0)

    def during(self, key, work):
        self.asked.append(key)
        return work()


def test_a_champion_without_one_before_it_answers_however_often_workers_were_killed(plan):
    first = World(plan)
    version = first.announce(dump_model(fitted(seed=1)))
    again = World(plan, last_calls=Deaths(**{version: 9}))
    for topic in (plan.topic("models"), plan.topic("model-artefacts")):
        for record in first.log.read(topic, 0):
            again.log.append(topic, record.key, record.value)
    again.follower.start()
    assert again.serving == version


def test_a_model_that_ends_the_process_is_asked_no_more_and_the_former_champion_answers(plan):
    calls = Deaths()
    world = World(plan, last_calls=calls)
    old = world.announce(dump_model(fitted(seed=1)))
    new = world.announce(dump_model(fitted(seed=2)), status="shadow")
    world.follower.start()
    assert [key.partition("/")[0] for key in calls.asked] == [old, new], "loading one may end the process, too"
    world.move(lambda rollout: to_champion(rollout, new, by="ann", reason="", probation=True))
    assert (world.serving, world.challengers) == (new, [(old, 0.0)])
    # The worker is started again after a third death.
    after = World(plan, last_calls=Deaths(**{new: 3}))
    for topic in (plan.topic("models"), plan.topic("model-artefacts")):
        for record in world.log.read(topic, 0):
            after.log.append(topic, record.key, record.value)
    after.follower.start()
    assert (after.serving, after.challengers) == (old, [(old, 0.0), (new, 0.0)])
    (fault,) = [c.model.fault for c in after.stage.challengers if c.model.version == new]
    assert "has died 3 times while it was asked" in fault
    former, refused = after.stage.challengers
    assert former.stage == refused.stage, "what it fails on is told in the stage of the probation"
    after.move(lambda rollout: rolled_back(rollout, by="judge", reason=fault))
    assert (after.serving, after.challengers) == (old, [])
