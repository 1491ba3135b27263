"""The judge over a log in memory: what it decides, once, wherever it is cut off."""

import random
import threading
from datetime import timedelta

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.schemas.errors import StreamError
from tidemill.streams.control_metrics import RolloutMetrics
from tidemill.streams.memory import MemoryReader
from tidemill.streams.rollout_judge import RolloutJudge, watch_rollout


class Places(dict):
    """Those of a group, in memory."""

    def load(self, partitions):
        return {place: self[place] for place in partitions if place in self}

    save = dict.update


ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "customer", "type": "string"},
        {"name": "amount", "type": "double"},
        {"name": "shop", "type": "string", "default": "A"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}
PAID = {
    "type": "record",
    "name": "Paid",
    "fields": [{"name": "id", "type": "string"}, {"name": "paid", "type": "boolean"}],
}


class Raises:
    classes_ = (False, True)

    def predict_proba(self, frame):
        raise RuntimeError("no such table")


class Biased:
    """Right about every shop but one."""

    classes_ = (False, True)

    def predict_proba(self, frame):
        paid = np.where((frame["amount"] > 50) ^ (frame["shop"] == "B"), 0.9, 0.1)
        return np.stack([1 - paid, paid], axis=1)


def model(bound):
    amounts = [n / 2 for n in range(200)]
    return LogisticRegression().fit(pd.DataFrame({"amount": amounts}), [amount > bound for amount in amounts])


class World:
    """Orders, those above 50 are paid mostly; and the answers, outcomes and steps that come of them."""

    def __init__(self, prior=None, gates=None, **settings):
        steps = {"shadow": 60, "canary": 0.3, "canary_for": 60, "probation": 60, "least_outcomes": 60} | settings
        pipeline = tm.Pipeline(
            "orders",
            tm.Events(ORDER, key="customer", time="at", id="id"),
            features=[tm.fields("amount", "shop")],
            gates=gates,
            labels=tm.Labels(PAID, id="id", label=pl.col("paid")),
            model=tm.Model(LogisticRegression(), ["amount"], prior=prior),
            rollout=tm.Rollout(**steps),
        )
        self.driver, self.chance, self.sent = tm.testing.Driver(pipeline), random.Random(5), 0

    def send(self, count=70, label=True):
        orders = [
            {
                "id": f"o{n}",
                "customer": f"c{n % 50}",
                "amount": self.chance.random() * 100,
                "shop": "B" if n % 8 == 0 else "A",
                "at": self.driver.now + timedelta(seconds=n),
            }
            for n in range(self.sent, self.sent + count)
        ]
        self.sent += count
        self.driver.send(orders)
        self.driver.run()
        if label:
            self.driver.send_labels(
                [{"id": o["id"], "paid": o["amount"] + self.chance.gauss(0, 15) > 50} for o in orders]
            )
            self.driver.run()

    def steps(self, rounds=8):
        """Traffic, and what the judge says after each part of it, without the reasons."""
        said = []
        for _ in range(rounds):
            self.send()
            said += [(step.partition(":")[0], step) for step in self.driver.judge()]
        return said

    def judge(self, **options):
        driver = self.driver
        plan, reader = driver.plan, MemoryReader(driver.log)
        return RolloutJudge(plan, plan.rollout, reader, driver._schemas, driver.rollouts, **options)


def test_a_better_model_takes_over_step_by_step():
    world = World()
    old = world.driver.serve(model(85))
    new = world.driver.serve(model(50), role="shadow")
    said = world.steps()
    assert [step for step, _ in said] == ["promote to canary", "promote to champion", "end the probation"]
    assert "is better than" in said[1][1]
    rollout = world.driver.rollouts.rollout()
    assert (rollout.champion.version, rollout.former.version, rollout.shadows) == (new, old, ())
    assert rollout.champion.event["by"] == "judge"
    assert '"better_at_least"' in rollout.champion.event["reason"]
    assert rollout.passed_over == ()


def test_a_worse_model_never_answers():
    world = World()
    old = world.driver.serve(model(50))
    bad = world.driver.serve(model(85), role="shadow")
    assert [step for step, _ in world.steps()] == ["retire"]
    assert {p.model_version for p in world.driver.predictions()} == {old}
    assert "is worse than" in world.driver.rollouts.rollout().versions[bad].event["reason"]


@pytest.mark.parametrize("role", ["shadow", "canary", "champion"])
def test_a_model_that_is_worse_in_a_slice_does_not_stay_although_it_is_better_on_the_whole(role):
    world = World(gates=tm.Gates(slices={"shop": 0.02}))
    old = world.driver.serve(model(65))
    bad = world.driver.serve(Biased(), ["amount", "shop"], role="shadow" if role == "champion" else role, share=0.3)
    if role == "champion":
        world.driver.rollouts.append(_promoted(world.driver.rollouts.rollout(), bad))
        world.driver.workers[0].follow()
    said = world.steps(8)
    assert said[-1][0] == ("retire" if role == "shadow" else "roll back"), said
    assert "is worse than" in said[-1][1]
    assert "in shop=B: log loss" in said[-1][1]
    rollout = world.driver.rollouts.rollout()
    assert rollout.champion.version == old
    assert bad not in rollout.champions or role == "champion"


def test_a_worse_canary_and_a_worse_new_champion_are_rolled_back():
    world = World()
    old = world.driver.serve(model(50))
    bad = world.driver.serve(model(85), role="canary", share=0.5)
    assert [step for step, _ in world.steps(6)] == ["roll back"]
    rollouts = world.driver.rollouts
    rollouts.append(_promoted(rollouts.rollout(), bad))
    world.driver.workers[0].follow()
    assert [step for step, _ in world.steps(12)] == ["roll back"]
    rollout = rollouts.rollout()
    assert (rollout.champion.version, rollout.versions[bad].status) == (old, "rolled_back")


def _promoted(rollout, version):
    from tidemill.processors.rollout.moves import to_champion

    return to_champion(rollout, version, by="ann", reason="by mistake", probation=True)


@pytest.mark.parametrize("role", ["shadow", "canary", "champion"])
def test_a_model_that_raises_goes_at_once_without_any_outcome(role):
    world = World()
    good = world.driver.serve(model(50))
    world.send(20)
    bad = world.driver.serve(Raises(), ["amount"], role="shadow" if role == "champion" else role, share=0.3)
    if role == "champion":
        rollouts = world.driver.rollouts
        rollouts.append(_promoted(rollouts.rollout(), bad))
        world.driver.workers[0].follow()
    world.send(20, label=False)
    (said,) = world.driver.judge()
    assert said.startswith("retire" if role == "shadow" else "roll back")
    assert "the model raised RuntimeError: no such table" in said
    world.send(20)
    assert world.driver.predictions()[-1].model_version == good
    refused = [r for r in world.driver.rejections() if r.stage == "online_inference"]
    assert len(refused) == (20 if role == "champion" else 0)


def test_without_champion_and_prior_the_first_model_serves_at_once():
    world = World()
    first = world.driver.serve(model(50), role="shadow")
    (said,) = world.driver.judge()
    assert "there is nothing that model" in said
    world.send(5)
    assert {p.model_version for p in world.driver.predictions()} == {first}


def test_the_first_model_is_compared_with_the_prior():
    world = World(prior=0.5, metric="accuracy")
    first = world.driver.serve(model(50), role="shadow")
    assert [step for step, _ in world.steps(8)] == ["promote to canary", "promote to champion"]
    assert world.driver.rollouts.rollout().champion.version == first


def test_two_judges_and_one_that_is_killed_take_each_step_once():
    world = World()
    world.driver.serve(model(85))
    world.driver.serve(model(50), role="shadow")
    one, other = world.judge(), world.judge()
    done = []
    for _ in range(8):
        world.send()
        for judge in (one, other, world.judge()):
            done += [step.step for step in judge.step()]
        for worker in world.driver.workers:
            worker.follow()
    assert done == ["promote to canary", "promote to champion", "end the probation"]
    assert len(world.driver.rollouts.read()) == 6


@pytest.mark.parametrize("seed", range(3))
def test_a_judge_that_goes_on_from_its_places_finds_what_one_does_that_reads_all(seed):
    """Killed at random, between any two looks: the same evidence, the same decisions, and less to read."""
    chance, places, world = random.Random(seed), Places(), World(least_outcomes=30, shadow=30, canary_for=30)
    judge = world.judge(places=places)
    world.driver.serve(model(85))
    done = []
    for number in range(14):
        if number in (2, 9):
            world.driver.serve(model(50 + number), role="shadow")
        world.send(chance.randint(1, 60))
        if chance.random() < 0.5:
            judge = world.judge(places=places)
        expected = world.judge()
        for each in (expected, judge):
            each._written = lambda made: False
            each.step()
        # Sums of other parts differ in their last bits.
        for (mine, here), (theirs, there) in zip(judge.decisions(), expected.decisions(), strict=True):
            assert (mine, here.action, here.reason) == (theirs, there.action, there.reason)
            assert here.figures == pytest.approx(there.figures)
        del judge._written
        done += [step.step for step in judge.step()]
        for worker in world.driver.workers:
            worker.follow()
    assert "promote to canary" in done
    kept = {place: offset for place, (_, offset) in places.items()}
    assert any(offset > 0 for offset in kept.values())
    assert set(kept) == {(f"orders.{t}", p) for t in ("shadow-predictions", "outcomes") for p in range(4)}


def test_places_of_topics_that_were_made_anew_or_of_later_stages_do_not_count():
    world = World()
    world.driver.serve(model(85))
    world.driver.serve(model(50), role="shadow")
    world.send(40)
    fresh = world.judge()
    fresh.step()
    topics = [(f"orders.{t}", p) for t in ("shadow-predictions", "outcomes") for p in range(4)]
    for place in [(0, 10**6), (9, 3)]:
        judge = world.judge(places=Places(dict.fromkeys(topics, place)))
        judge.step()
        assert judge.decisions() == fresh.decisions()


def test_what_the_judge_sees_is_told_to_prometheus():
    from prometheus_client import CollectorRegistry

    registry, world = CollectorRegistry(), World()
    metrics = RolloutMetrics(registry)
    old, new = world.driver.serve(model(85)), world.driver.serve(model(50), role="shadow")
    judge = world.judge(metrics=metrics)
    world.send(30)
    judge.step()
    pair = {"stage": "shadow", "candidate": new, "reference": old}
    value = registry.get_sample_value
    assert value("tidemill_rollout_role", {"version": old, "role": "champion"}) == 1
    assert value("tidemill_rollout_role", {"version": new, "role": "shadow"}) == 1
    assert value("tidemill_rollout_outcomes", pair) == value("tidemill_rollout_scored", pair) == 30
    losses = [value("tidemill_rollout_loss", {**pair, "of": of}) for of in ("candidate", "reference")]
    assert losses[0] < losses[1]
    assert value("tidemill_rollout_failures", {**pair, "of": "candidate"}) == 0
    world.send(70)
    judge.step()
    assert value("tidemill_rollout_steps_total", {"step": "promote to canary"}) == 1
    metrics.clear()
    assert value("tidemill_rollout_outcomes", pair) is None


def test_a_new_champion_that_no_worker_can_serve_is_rolled_back():
    """It was promoted by hand, and is a pickle that nobody trusts: the former one answers meanwhile."""
    world = World()
    old = world.driver.serve(model(50))
    bad = world.driver.serve(Raises(), ["amount"], role="shadow")
    world.driver._trusted.clear()
    world.driver.restart()
    world.driver.rollouts.append(_promoted(world.driver.rollouts.rollout(), bad))
    world.send(20)
    assert {p.model_version for p in world.driver.predictions()} == {old}
    (said,) = world.driver.judge()
    assert said.startswith("roll back")
    assert "fails where" in said
    assert "trust" in said


def test_a_step_on_an_older_state_is_not_taken(monkeypatch):
    world = World()
    world.driver.serve(model(85))
    new = world.driver.serve(model(50), role="shadow")
    world.send()
    judge, rollouts = world.judge(), world.driver.rollouts
    look = RolloutJudge._look

    def late(self):
        look(self)
        monkeypatch.setattr(RolloutJudge, "_look", look)
        from tidemill.processors.rollout.moves import retired

        rollouts.append(retired(rollouts.rollout(), new, by="ann", reason="not wanted"))

    monkeypatch.setattr(RolloutJudge, "_look", late)
    assert judge.step() == []
    assert judge.step() == []
    assert rollouts.rollout().versions[new].status == "retired"


def test_a_judge_that_was_idle_knows_no_older_answers():
    world = World()
    world.driver.serve(model(50))
    judge = world.judge()
    world.send()
    assert judge.step() == []
    world.driver.serve(model(49), role="shadow")
    world.send(30)
    judge.step()
    ((_, decision),) = judge.decisions()
    assert decision.figures["outcomes"] == 30


def test_it_works_only_while_at_work_and_begins_anew_after_trouble(caplog):
    made, stepped, rounds = [], [], iter([True] * 3 + [False] * 2 + [True] * 3)

    class Judge:
        def __enter__(self):
            made.append(self)
            return self

        def __exit__(self, *_):
            pass

        def step(self):
            stepped.append(len(made))
            if len(stepped) == 2:
                raise StreamError("the broker is away")
            return []

    done = threading.Event()
    state = {"at_work": True}

    def at_work():
        state["at_work"] = next(rounds, None)
        if state["at_work"] is None:
            done.set()
        return bool(state["at_work"])

    watch_rollout(Judge, at_work, lambda seconds: done.is_set())
    assert stepped[0] == 1
    assert "cannot be judged for now: the broker is away" in caplog.text
    assert len(made) >= 2


def test_what_cannot_be_declared():
    for settings, said in [
        ({"canary": 1.0}, "expected a share of keys"),
        ({"least_outcomes": 5}, "expected 30 at least"),
        ({"metric": "logloss"}, "did you mean 'log_loss'"),
        ({"alpha": 0}, "expected a share between 0 and 1"),
        ({"deadline": "2h"}, "at most 60 s"),
        ({"shadow": "soon"}, "expected a duration"),
        ({"probation": -1}, "a number that is not negative"),
    ]:
        with pytest.raises(tm.DeclarationError, match=said):
            tm.Rollout(**settings)
    events = tm.Events(ORDER, key="customer", time="at", id="id")
    driver = tm.testing.Driver(tm.Pipeline("p", events))
    with pytest.raises(tm.DeclarationError, match="declares no rollout"):
        driver.judge()
    pipeline = tm.Pipeline("p", events, rollout=tm.Rollout())
    with pytest.raises(tm.DeclarationError, match="needs a model"):
        pipeline.plan()
