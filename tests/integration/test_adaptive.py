"""A pipeline with the model that adapts, through real topics: it learns, follows a turn, and says what it did."""

import json
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

import tidemill as tm
from tidemill.learning import open_learner
from tidemill.loading import load_pipeline
from tidemill.streams.kafka.connection import Connection

SOURCE = """
import polars as pl

import tidemill as tm

order = {
    "type": "record", "name": "Order", "namespace": "shop", "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount", "type": ["null", "double"]},
        {"name": "kind", "type": ["null", "string"]},
        {"name": "gift", "type": "boolean"},
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
    tm.Events(order, key="id", time="at", id="id"),
    features=[tm.fields("amount", "kind", "gift")],
    labels=tm.Labels(payment, id="id", label=pl.col("paid"), time="at"),
    model=tm.Model(
        tm.AdaptiveClassifier(), features=["amount", "kind", "gift"], prior=0.5,
        learning=tm.Learning(every=200, idle="100ms"),
    ),
    partitions=1,
)
"""
ROWS, TURN, BLOCK = 2_000, 1_200, 200
FEATURES = ["amount", "kind", "gift"]


def orders() -> tuple[list[dict], list[bool]]:
    """What is paid for depends on the amount and the kind; from TURN on it is the other way round."""
    chance, start = np.random.default_rng(5), datetime(2024, 1, 1, tzinfo=UTC)
    made, paid = [], []
    for n in range(ROWS):
        amount, kind = float(chance.normal()), ["food", "books", None][int(chance.integers(3))]
        order = {"id": f"o{n}", "at": start + timedelta(minutes=n), "kind": kind, "gift": bool(chance.random() < 0.5)}
        made.append({**order, "amount": None if n % 9 == 4 else amount})
        paid.append(((0 if n % 9 == 4 else amount) + 2 * (kind == "food") > 0.5) ^ (n >= TURN))
    return made, paid


def static(made: list[dict], paid: list[bool]) -> np.ndarray:
    """What the same model answers after the turn that has learned nothing since."""
    frame = pd.DataFrame(made)[FEATURES]
    model = tm.AdaptiveClassifier(classes=(False, True))
    model.learn_many(frame.iloc[:TURN], paid[:TURN])
    return model.predict_many(frame.iloc[TURN:]).to_numpy(bool)


def wait_for(holds, what):
    deadline = time.monotonic() + 150
    while not holds():
        assert time.monotonic() < deadline, f"waited until {what}"
        time.sleep(0.02)


def test_it_learns_through_real_topics_and_follows_a_turn(make_mill):
    mill = make_mill(SOURCE)
    pipeline = load_pipeline(str(mill.file))
    plan, (made, paid) = pipeline.plan(), orders()
    learned = 0
    with mill.worker(plan.stages), mill.client() as client:
        learner = open_learner(pipeline, Connection(mill.bootstrap_servers))
        for start in range(0, ROWS, BLOCK):
            block = made[start : start + BLOCK]
            client.send_many(block)
            client.flush()
            mill.wait(start + BLOCK)
            client.send_labels(
                [
                    {"id": order["id"], "paid": bool(label), "at": order["at"] + timedelta(minutes=5)}
                    for order, label in zip(block, paid[start : start + BLOCK], strict=True)
                ]
            )
            client.flush()

            def all_learned(until=start + BLOCK):
                nonlocal learned
                learned += learner.step()
                return learned == until

            wait_for(all_learned, f"{start + BLOCK} outcomes are learned")
    found = {a.prediction["event_id"]: a.prediction for (a,) in mill.answers.values()}
    assert len(found) == ROWS
    right = np.array([found[order["id"]]["value"] == label for order, label in zip(made, paid, strict=True)])
    unmoved = (static(made, paid) == paid[TURN:])[-400:].mean()
    assert right[BLOCK * 2 : TURN].mean() > 0.85
    assert right[-400:].mean() > max(unmoved, 0.5) + 0.2
    said = [step["reason"] for step in json.loads(mill.cli("models", "list", mill.name, "--json"))]
    assert any("alarm at label" in reason for reason in said)
    assert any("fits" in reason for reason in said)
