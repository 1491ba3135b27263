import random
from datetime import timedelta

import polars as pl
import pytest
from river import linear_model, preprocessing

import tidemill as tm
from tidemill.streams.memory import MemoryStream
from tidemill.streams.models import announcements

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "customer", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount", "type": "double"},
        {"name": "value", "type": "double"},
    ],
}
PAYMENT = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "paid", "type": "boolean"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}


def pipeline(estimator=None, *, partitions=3, **learning):
    return tm.Pipeline(
        "learning",
        tm.Events(ORDER, key="customer", time="at", id="id"),
        features=[tm.fields("amount", "value")],
        labels=tm.Labels(PAYMENT, id="id", label=pl.col("paid"), time="at"),
        model=tm.Model(
            preprocessing.StandardScaler() | linear_model.LogisticRegression() if estimator is None else estimator,
            features=["amount", "value"],
            prior=0.5,
            learning=tm.Learning(**learning),
        ),
        partitions=partitions,
    )


def orders(driver, count, seed=1):
    chance, made = random.Random(seed), []
    for number in range(count):
        amount, value = chance.random(), chance.gauss(0, 1)
        at = driver.now + timedelta(minutes=number)
        made.append({"id": f"o{number}", "customer": f"c{number % 7}", "at": at, "amount": amount, "value": value})
    return made


def payment(order, after=5):
    return {
        "id": order["id"],
        "paid": order["amount"] + order["value"] / 9 > 0.5,
        "at": order["at"] + timedelta(minutes=after),
    }


def versions(driver):
    return announcements(MemoryStream(driver.log, "learning.models"), wait=True)


@pytest.mark.parametrize("estimator", [None, tm.AdaptiveClassifier()], ids=["logistic", "adaptive"])
def test_versions_are_the_same_however_often_the_learner_is_started_again(estimator):
    found = []
    for cuts in ([300], [40, 41, 150, 220, 300]):
        driver, before = tm.testing.Driver(pipeline(estimator, every=50)), 0
        made = orders(driver, 300)
        driver.send(made)
        driver.run()
        for cut in cuts:
            driver.send_labels([payment(order) for order in made[before:cut]])
            driver.run()
            driver.learn(force=True)
            before = cut
        found.append(versions(driver))
    assert [v["artefact_sha256"] for v in found[0]] == [v["artefact_sha256"] for v in found[1]]
    assert [v["training_rows"] for v in found[0]] == [50, 100, 150, 200, 250, 300]
    assert {v["by"] for v in found[0]} == {"learner"}
    said = {v["reason"].partition("; ")[2] for v in found[0]}
    assert said == {"since the version before: nothing was fitted or changed" if estimator else ""}
    last = found[0][-1]["training_offsets"]
    assert sum(row["last"] - row["first"] + 1 for row in last) == 300


def test_its_predictions_are_rivers_bit_for_bit():
    """Each outcome makes a version that serves from the next event on."""
    driver = tm.testing.Driver(pipeline(every=1))
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression()
    for number, order in enumerate(orders(driver, 40)):
        driver.send(order)
        driver.run()
        row = {"amount": order["amount"], "value": order["value"]}
        expected = model.predict_proba_one(row)
        (served,) = [p for p in driver.predictions() if p.event_id == order["id"]]
        if number:
            assert served.probabilities == {"false": expected[False], "true": expected[True]}
        driver.send_labels(payment(order))
        driver.run()
        assert len(driver.learn(force=True)) == 1
        model.learn_one(row, payment(order)["paid"])


def test_a_version_that_is_no_better_than_a_constant_is_not_published(caplog):
    driver = tm.testing.Driver(pipeline(every=50))
    chance, made = random.Random(2), orders(driver, 100)
    driver.send(made)
    driver.run()
    driver.send_labels([payment(order) | {"paid": chance.random() < 0.5} for order in made])
    driver.run()
    assert driver.learn() == []
    assert "no better than" in caplog.text


def test_a_pipeline_without_learning_has_no_learner():
    made = pipeline()
    made.model = tm.Model(linear_model.LogisticRegression(), features=["amount"])
    with pytest.raises(tm.DeclarationError, match=r"declare tm\.Model"):
        tm.testing.Driver(made).learn()


def test_what_retention_has_deleted_cannot_be_learned():
    driver = tm.testing.Driver(pipeline(every=10, partitions=1), partitions=1)
    made = orders(driver, 40)
    driver.send(made)
    driver.run()
    driver.send_labels([payment(order) for order in made])
    driver.run()
    driver.learn(force=True)
    driver.log.append("learning.outcomes", b"x", b"garbage", partition=0)
    driver.log.append("learning.outcomes", b"x", b"garbage", partition=0)
    driver.log.delete_before("learning.outcomes", 0, 42)
    with pytest.raises(tm.StreamError, match="retention has deleted"):
        driver.learn()


def test_an_adaptive_model_of_numbers_is_refused():
    with pytest.raises(tm.DeclarationError, match="the pipeline's label is a number"):
        tm.Pipeline(
            "learning",
            tm.Events(ORDER, key="customer", time="at", id="id"),
            features=[tm.fields("amount")],
            labels=tm.Labels(ORDER, id="id", label=pl.col("value"), time="at"),
            model=tm.Model(tm.AdaptiveClassifier(), features=["amount"], learning=tm.Learning()),
        ).plan()
