import random

import polars as pl
import pytest
from river import linear_model, preprocessing

import tidemill as tm
from tidemill.streams.explanation import HIDDEN, Explainer, Place
from tidemill.streams.memory import MemoryReader, MemoryStream

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "KIND"},
        {"name": "customer", "type": "string"},
        {"name": "card", "type": "string", "private": True},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount", "type": "double"},
    ],
}
PAYMENT = {
    "type": "record",
    "name": "Payment",
    "fields": [{"name": "id", "type": "KIND"}, {"name": "paid", "type": "boolean"}],
}


def declared(kind):
    def typed(schema):
        return {**schema, "fields": [f | {"type": kind} if f["type"] == "KIND" else f for f in schema["fields"]]}

    return tm.Pipeline(
        "shop",
        tm.Events(typed(ORDER), key="customer", time="at", id="id"),
        checks=[tm.between("amount", 0, 1000)],
        features=[tm.fields("amount"), tm.window("customer", over="1h", orders=tm.count())],
        labels=tm.Labels(typed(PAYMENT), id="id", label=pl.col("paid")),
        model=tm.Model(
            preprocessing.StandardScaler() | linear_model.LogisticRegression(),
            features=["amount", "orders"],
            prior=0.5,
            learning=tm.Learning(every=40),
        ),
        partitions=3,
    )


def explainer(driver):
    topics = [spec.name for spec in driver.plan.topics()]
    models = MemoryStream(driver.log, "shop.models")
    return Explainer("shop", driver.plan.contracts, topics, MemoryReader(driver.log), driver._schemas, models)


@pytest.fixture(scope="module", params=["string", "long"])
def driver(request):
    made = tm.testing.Driver(declared(request.param))
    chance, text = random.Random(1), request.param == "string"
    rows = [
        {
            "id": str(n) if text else n,
            "customer": f"c{n % 7}",
            "card": f"secret {n}",
            "at": made.now,
            "amount": n * 10.0,
        }
        for n in range(1, 121)
    ]
    chance.shuffle(rows)
    made.send(rows[:60])
    made.run()
    made.send_labels([{"id": row["id"], "paid": row["amount"] > 600} for row in rows[:60]])
    made.run()
    assert len(made.learn(force=True)) == 1
    made.send(rows[60:])
    made.run()
    last = rows[60]["id"]
    made.send_labels([{"id": last, "paid": True}, {"id": last, "paid": False}, {"id": rows[61]["id"], "paid": True}])
    made.run()
    made.order = [str(row["id"]) for row in rows]
    return made


def test_an_event_that_was_answered(driver):
    event_id = driver.order[60]
    made = explainer(driver).explain(event_id)
    assert str(made.event["fields"]["id"]) == event_id
    assert made.event["fields"]["card"] == HIDDEN
    if not made.rejections:
        assert made.features["amount"] == made.event["fields"]["amount"]
        assert made.prediction["model_version"] == made.model["model_version"]
        assert made.model["by"] == "learner"
        assert [row["label"] for row in made.outcomes] == [True, False]
        assert [row["paid"] for row in made.labels] == [True, False]
    assert made.trained == []


def test_an_event_that_was_learned(driver):
    first = driver.log.read("shop.outcomes", 0, 0, 2)
    learned = [explainer(driver).explain(record.key.decode()) for record in first]
    assert all(row["training_rows"] == 40 for made in learned for row in made.trained)
    assert len(learned[0].trained) == len(learned[1].trained) == 1
    assert all(made.outcomes and made.prediction["model_version"] == "prior" for made in learned)
    assert all(made.model is None for made in learned)


def test_an_event_that_was_rejected(driver):
    made = explainer(driver).explain("110")
    assert (made.prediction, made.features) == (None, None)
    (rejection,) = [row for row in made.rejections if row["stage"] == "sanity_check"]
    assert rejection["reason"] == "out_of_range"
    assert "secret" not in str(made)


def test_an_event_by_its_place(driver):
    event_id = driver.order[3]
    place = explainer(driver).explain(event_id).event["place"]
    partition, offset = place.removeprefix("shop.events[").split("]@")
    at = Place(int(partition), int(offset))
    assert explainer(driver).at(at) == event_id
    assert explainer(driver).explain(event_id, at).event["place"] == place
    assert explainer(driver).explain(event_id, partition=at.partition).event["place"] == place


def test_progress_never_goes_beyond_what_there_is(driver):
    read = []
    topics = [spec.name for spec in driver.plan.topics()]
    models = MemoryStream(driver.log, "shop.models")
    history = MemoryReader(driver.log)
    made = Explainer("shop", driver.plan.contracts, topics, history, driver._schemas, models, read.append)
    made.explain(driver.order[0])
    assert 0 < sum(read) <= made.total()


def test_an_event_that_waits(driver):
    record = driver.log.append("shop.events", b"c", b"garbage", partition=0)
    with pytest.raises(tm.StreamError, match="expected an event that can be read"):
        explainer(driver).at(Place(0, record.offset))
    with pytest.raises(tm.StreamError, match="nothing: retention"):
        explainer(driver).at(Place(0, record.offset + 5))
    with pytest.raises(tm.StreamError, match="no event with the id 'no such'"):
        explainer(driver).explain("no such")


def test_the_page_shows_it_all(driver, capsys):
    from tidemill.cli.explain import show

    show(explainer(driver).explain(driver.order[60]))
    show(explainer(driver).explain("110"))
    shown = capsys.readouterr().out
    assert "secret" not in shown
    assert "rejected by sanity_check: out_of_range" in shown
