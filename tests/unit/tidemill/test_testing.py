"""`tm.testing.Driver`: a pipeline without a broker, as a user tests it."""

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.streams.murmur2 import partition_of

NOW = datetime(2024, 3, 1, 9, tzinfo=UTC)
DOCUMENT = Path(__file__).parents[3] / "docs" / "how-to" / "test-a-pipeline.md"
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "customer", "type": ["null", "string"], "default": None},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "amount", "type": "double", "constraints": {"minimum": 0}},
        {"name": "shop", "type": ["null", "string"], "default": None},
    ],
}
PAYMENT = {
    "type": "record",
    "name": "Payment",
    "fields": [{"name": "id", "type": "string"}, {"name": "paid", "type": "boolean"}],
}
SHOP = {
    "type": "record",
    "name": "Shop",
    "fields": [
        {"name": "country", "type": "string"},
        {"name": "shop", "type": "string"},
        {"name": "rank", "type": ["null", "int"], "default": None},
    ],
}


def declare(**changed):
    return tm.Pipeline(
        "orders",
        tm.Events(ORDER, key="customer", time="at", id="id"),
        **{
            "checks": [tm.between("amount", 0, 1000), tm.not_in_future("1m"), tm.unique(within="1d")],
            "tables": [tm.topic_table("shops", tm.Contract.parse(SHOP), key=["country", "shop"])],
            "features": [
                tm.fields("amount"),
                tm.expression(country=pl.lit("de")),
                tm.lookup("shops", on=["country", "shop"], columns=["rank"]),
                tm.window("customer", over="1h", resolution="1m", orders=tm.count(), total=tm.sum("amount")),
            ],
            "labels": tm.Labels(PAYMENT, id="id", label=pl.col("paid")),
            "model": tm.Model(LogisticRegression(), features=["amount", "orders"], prior=0.25),
            **changed,
        },
    )


PIPELINE = declare()


@pytest.fixture(params=["all", "each"])
def driver(request):
    return tm.testing.Driver(PIPELINE, stages=request.param, now=NOW)


def order(driver, number, **changed):
    return {"id": f"o{number}", "customer": "ada", "at": driver.now, "amount": 10.0 * number, **changed}


def test_events_become_predictions_and_rejections(driver):
    driver.send(order(driver, 1))
    driver.advance(timedelta(minutes=5))
    driver.send([order(driver, 2), order(driver, 3, at=driver.now + timedelta(hours=1)), order(driver, 101)])
    driver.send(order(driver, 2))
    driver.run()
    assert [p.event_id for p in driver.predictions()] == ["o1", "o2"]
    assert {(p.value, p.probabilities["true"], p.model_version) for p in driver.predictions()} == {
        (False, 0.25, "prior")
    }
    assert [(r.offset, r.reason) for r in driver.rejections()] == [
        (2, "in_future"),
        (3, "out_of_range"),
        (4, "duplicate_id"),
    ]
    assert driver.rejections()[0].timestamp == NOW + timedelta(minutes=5)
    first, second = driver.features()
    assert (first["orders"], first["total"], second["orders"], second["total"]) == (0, 0.0, 1, 10.0)


def test_nothing_happens_before_run_and_nothing_twice(driver):
    driver.send(order(driver, 1))
    assert driver.predictions() == []
    driver.run()
    driver.run()
    assert len(driver.predictions()) == 1


def test_an_arrow_table_goes_in_as_from_the_client(driver):
    rows = pa.table(
        {
            "id": ["a", "b"],
            "customer": ["ada", None],
            "at": pa.array([NOW, NOW], pa.timestamp("us", "UTC")),
            "amount": [1.0, 2.0],
            "shop": pa.nulls(2, pa.string()),
        }
    )
    driver.send(rows)
    driver.run()
    assert sorted(row["event_id"] for row in driver.features()) == ["a", "b"]


def test_an_event_that_breaks_its_contract_is_refused_by_the_client_and_nothing_is_sent(driver):
    with pytest.raises(tm.EncodeError, match=r"row 1: expected amount at least 0, got amount=-1\.0"):
        driver.send([order(driver, 1), order(driver, 2, amount=-1.0)])
    with pytest.raises(tm.EncodeError, match="did you mean 'amount'"):
        driver.send({**order(driver, 1), "amuont": 1.0})
    assert driver.records("events") == []


def test_garbage_is_rejected_with_its_bytes(driver):
    driver.send_bytes(b"junk", key=b"ada", headers=[("trace", b"1")])
    driver.send_bytes(None)
    driver.run()
    assert sorted((r.reason, r.key, r.value) for r in driver.rejections()) == [
        ("empty_value", None, None),
        ("unknown_framing", b"ada", b"junk"),
    ]


def test_keys_go_where_kafkas_producers_put_them_and_the_rest_in_turn(driver):
    for number in range(40):
        driver.send(order(driver, number, customer=f"c{number}"))
    assert driver.records("events")
    for record in driver.records("events"):
        assert record.partition == partition_of(record.key, 4)
    before = len(driver.records("events"))
    driver.send([order(driver, number, customer=None) for number in range(8)])
    without = [r.partition for r in driver.records("events") if r.key is None]
    assert len(driver.records("events")) == before + 8
    assert sorted(without) == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_clock_stamps_records_and_only_moves_on(driver):
    driver.advance(timedelta(milliseconds=1500))
    driver.send(order(driver, 1))
    driver.run()
    assert driver.now == NOW + timedelta(milliseconds=1500)
    stamped = {topic: driver.records(topic)[0].timestamp for topic in ("events", "features", "predictions")}
    assert set(stamped.values()) == {int(driver.now.timestamp() * 1000)}
    with pytest.raises(tm.DeclarationError, match="goes back by 0:00:01"):
        driver.advance(timedelta(seconds=-1))


def test_a_time_without_a_zone_is_utc():
    assert tm.testing.Driver(PIPELINE, now=NOW.replace(tzinfo=None)).now == NOW


def test_table_rows_are_seen_by_the_events_after_them(driver):
    driver.send(order(driver, 1, shop="A"))
    driver.run()
    driver.put_table("shops", [{"country": "de", "shop": "A", "rank": 7}, {"country": "de", "shop": "B", "rank": 8}])
    driver.send(order(driver, 2, shop="A"))
    driver.run()
    driver.put_table("shops", {"country": "de", "shop": "A", "rank": 9})
    driver.send(order(driver, 3, shop="A"))
    driver.run()
    driver.delete_from_table("shops", {"country": "de", "shop": "A"})
    driver.send([order(driver, 4, shop="A"), order(driver, 5, shop="B")])
    driver.run()
    found = [(row["rank"], row["shops_version"]) for row in driver.features()]
    assert found == [(None, 0), (7, 2), (9, 3), (None, 4), (8, 4)]


def test_a_restart_restores_state_tables_and_model(driver):
    model = LogisticRegression().fit(pd.DataFrame({"amount": [0.0, 9.0], "orders": [1.0, 5.0]}), [False, True])
    driver.put_table("shops", {"country": "de", "shop": "A", "rank": 7})
    version = driver.serve(model)
    driver.send(order(driver, 1))
    driver.run()
    driver.log.compact("orders.changelog")
    driver.restart()
    driver.send([order(driver, 1), order(driver, 2, shop="A")])
    driver.run()
    assert [(row["orders"], row["rank"]) for row in driver.features()] == [(0, None), (1, 7)]
    assert [r.reason for r in driver.rejections()] == ["duplicate_id"]
    assert [p.model_version for p in driver.predictions()] == [version, version]


def test_workers_can_share_the_stages_in_another_way_after_a_restart():
    driver = tm.testing.Driver(PIPELINE, now=NOW)
    for number, stages in enumerate(["each", "all", "each"]):
        driver.send(order(driver, number))
        driver.run()
        driver.restart(stages=stages)
    driver.send(order(driver, 9))
    driver.workers[0].run(10)
    with pytest.raises(tm.StreamError, match="stages stand at different events"):
        driver.restart(stages="all")
    driver.restart(stages="each")
    driver.run()
    assert [row["orders"] for row in driver.features()] == [0, 1, 2, 3]
    assert len(driver.predictions()) == 4


def test_single_batches_can_be_run(driver):
    driver.send([order(driver, n) for n in range(5)])
    driver.workers[0].step(2)
    assert len(driver.records("validated")) == 2
    home = partition_of(b"ada", 4)
    driver.workers[0].step(10, partitions={0, 1, 2, 3} - {home})
    assert len(driver.records("validated")) == 2
    driver.workers[0].step(2, partitions={home})
    assert len(driver.records("validated")) == 4
    driver.run()
    assert len(driver.predictions()) == 5


def test_a_fitted_model_is_served_through_its_announcement(driver):
    driver.send(order(driver, 1))
    driver.run()
    rows = pd.DataFrame({"amount": [0.0, 1.0, 99.0, 100.0], "orders": [0.0, 1.0, 0.0, 1.0]})
    model = LogisticRegression().fit(rows, [False, False, True, True])
    version = driver.serve(model)
    driver.send(order(driver, 9))
    driver.run()
    assert [p.model_version for p in driver.predictions()] == ["prior", version]
    expected = model.predict_proba(pd.DataFrame({"amount": [90.0], "orders": [1.0]}))[0, 1]
    assert driver.predictions()[1].probabilities["true"] == pytest.approx(expected, rel=1e-12)
    assert len(driver.records("models")) == 1


class Weird:
    """A model of the user's own, which skops cannot vouch for."""

    def predict_proba(self, frame):
        if (frame["amount"] > 500).any():
            raise ValueError("too much")
        return np.tile([0.5, 0.5], (len(frame), 1))

    def predict(self, frame):
        raise AssertionError


def test_a_model_of_the_users_own_is_trusted_and_what_it_raises_is_a_rejection(driver):
    driver.serve(Weird(), ["amount"])
    driver.send([order(driver, 1), order(driver, 2, amount=600.0)])
    driver.run()
    assert [p.event_id for p in driver.predictions()] == ["o1"]
    (rejected,) = driver.rejections()
    assert (rejected.stage, rejected.reason) == ("online_inference", "model_raised")
    assert rejected.value == driver.records("events")[1].value


def test_a_model_that_cannot_be_served_is_an_error_here(driver):
    with pytest.raises(tm.DeclarationError, match="makes no feature 'amuont'; did you mean 'amount'"):
        driver.serve(LogisticRegression(), ["amuont"])
    with pytest.raises(tm.ModelError, match="was refused"):
        driver.serve(object())
    assert driver.predictions() == []


def test_training_learns_from_what_was_served(driver):
    driver.send([order(driver, n, amount=float(n), at=NOW + timedelta(milliseconds=n)) for n in range(200)])
    driver.run()
    # What holds for the first four fifths does not hold after.
    driver.send_labels([{"id": f"o{n}", "paid": 80 < n < 160} for n in range(200)])
    with pytest.raises(tm.ModelError, match="no better than the base rate"):
        driver.train()
    made = driver.train(force=True)
    driver.send(order(driver, 300, amount=3.0))
    driver.run()
    assert made["training_rows"] == 160
    assert made["announced_at"] == NOW
    assert [p.model_version for p in driver.predictions()][-1] == made["model_version"]


def test_training_on_a_stretch(driver):
    driver.send([order(driver, n, amount=float(n % 50), at=NOW + timedelta(milliseconds=n)) for n in range(200)])
    driver.run()
    driver.send_labels([{"id": f"o{n}", "paid": n % 50 > 25} for n in range(200)])
    bounds = {name: NOW + timedelta(milliseconds=n) for name, n in [("since", 10), ("until", 110)]}
    made = driver.train(**bounds, evaluate_until=NOW + timedelta(milliseconds=160))
    assert (made["training_rows"], made["evaluation_rows"]) == (100, 50)


def test_drivers_of_one_pipeline_know_nothing_of_each_other():
    one, other = tm.testing.Driver(PIPELINE, now=NOW), tm.testing.Driver(PIPELINE, now=NOW)
    one.put_table("shops", {"country": "de", "shop": "A", "rank": 7})
    for driver in (one, other):
        driver.send(order(driver, 1, shop="A"))
        driver.run()
    assert [driver.features()[0]["rank"] for driver in (one, other)] == [7, None]


def test_what_the_pipeline_does_not_have_is_named():
    driver = tm.testing.Driver(declare(labels=None, model=None, tables=[], features=[tm.fields("amount")]))
    with pytest.raises(tm.DeclarationError, match="declares no labels"):
        driver.send_labels({"id": "o1", "paid": True})
    with pytest.raises(tm.DeclarationError, match="declares no model"):
        driver.train()
    with pytest.raises(tm.DeclarationError, match="declares no model"):
        driver.serve(LogisticRegression())
    with pytest.raises(tm.DeclarationError, match="no topic table 'shops'"):
        driver.put_table("shops", {})
    with pytest.raises(tm.StreamError, match=r"no topic 'orders.predictons'; did you mean 'orders.predictions'"):
        driver.records("predictons")
    with pytest.raises(tm.DeclarationError, match="no contract says how 'rejected' is read"):
        driver.table("rejected")
    with pytest.raises(tm.DeclarationError, match="expected stages='all' or 'each', got 'al'"):
        tm.testing.Driver(PIPELINE, stages="al")


def test_what_the_pipeline_does_not_publish_cannot_be_read_here_either():
    driver = tm.testing.Driver(declare(publish=["predictions"]))
    driver.send(order(driver, 1))
    driver.run()
    assert len(driver.predictions()) == 1
    with pytest.raises(tm.DeclarationError, match=r"this test reads orders\.features, but .* only predictions"):
        driver.features()
    with pytest.raises(tm.DeclarationError, match=r"training reads orders\.features"):
        driver.train()
    with pytest.raises(tm.DeclarationError, match="a worker that begins with feature_enrichment"):
        driver.restart(stages="each")


def test_the_pipeline_file_runs_unchanged(tmp_path):
    source = """
import tidemill as tm
order = {"type": "record", "name": "Order", "fields": [{"name": "id", "type": "string"},
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}]}
pipeline = tm.Pipeline("from-a-file", tm.Events(order, key="id", time="at", id="id"), features=[tm.fields("id")],
    partitions=2)
"""
    file = tmp_path / "from_a_file.py"
    file.write_text(source)
    driver = tm.testing.Driver(file)
    driver.send({"id": "a", "at": driver.now})
    driver.run()
    assert driver.features()[0]["id"] == "a"
    assert driver.log.partitions("from-a-file.events") == [0, 1]
    assert tm.testing.Driver(str(file), partitions=7).log.partitions("from-a-file.features") == list(range(7))


def test_the_examples_in_the_how_to_run(tmp_path, monkeypatch):
    """The page's files, put where it says, pass under pytest."""
    blocks = re.findall(r"`(\w+\.py)`:\n\n((?:    .*\n|\n)+)", DOCUMENT.read_text())
    assert [name for name, _ in blocks] == ["orders.py", "test_orders.py"]
    for name, code in blocks:
        (tmp_path / name).write_text("\n".join(line.removeprefix("    ") for line in code.splitlines()))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "orders", raising=False)
    namespace: dict[str, object] = {}
    exec(compile((tmp_path / "test_orders.py").read_text(), "test_orders.py", "exec"), namespace)
    tests = [value for name, value in namespace.items() if name.startswith("test_")]
    assert len(tests) >= 3
    for test in tests:
        test()
