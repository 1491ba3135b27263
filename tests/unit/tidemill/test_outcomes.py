"""Labels and outcomes of a pipeline, as a user tests it."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.processors.drift import merge_all, profile_of, profile_of_outcomes, profile_of_predictions
from tidemill.processors.drift.profile import Scope
from tidemill.processors.drift.profile_record import to_record
from tidemill.streams.memory import MemoryReader, MemoryTransactions
from tidemill.streams.profile_log import read_deltas
from tidemill.streams.rejected_log import Selection
from tidemill.streams.retries import retry

START = datetime(2024, 1, 1, tzinfo=UTC)
MICROS = {"type": "long", "logicalType": "timestamp-micros"}
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "customer", "type": ["null", "string"], "default": None},
        {"name": "at", "type": MICROS},
        {"name": "amount", "type": "double"},
        {"name": "value", "type": ["null", "string"], "default": None},
    ],
}
PAYMENT = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": ["null", "string"], "default": None},
        {"name": "paid", "type": ["null", "string"], "default": None},
        {"name": "at", "type": ["null", MICROS], "default": None},
        {"name": "clerk", "type": ["null", "string"], "default": None},
        {"name": "sure", "type": ["null", "double"], "default": None},
        {"name": "no", "type": "int", "default": 0},
        {"name": "fee", "type": ["null", "double"], "default": None, "constraints": {"minimum": 0}},
    ],
}


def declare(profiles=None, checks=(), windows=(), **labels):
    given = {"id": "id", "label": pl.col("paid"), "classes": ["no", "yes"], "time": "at", "within": "1d", **labels}
    return tm.Pipeline(
        "orders",
        tm.Events(ORDER, key="customer", time="at", id="id"),
        checks=checks,
        features=[tm.fields("amount", "value"), tm.window("customer", over="1h", orders=tm.count()), *windows],
        labels=tm.Labels(PAYMENT, **given),
        model=tm.Model(LogisticRegression(), ["amount", "orders"], prior={"no": 0.75, "yes": 0.25}),
        profiles=profiles,
        partitions=3,
    )


def order(number, hours=0.0):
    return {
        "id": f"o{number}",
        "customer": f"c{number % 3}",
        "at": START + timedelta(hours=hours),
        "amount": number / 2,
        "value": ["big", "small", None][number % 3],
    }


def label(number, paid="yes", hours=1.0, **more):
    return {"id": f"o{number}", "paid": paid, "at": START + timedelta(hours=hours), **more}


def run(pipeline, *steps, stages="all"):
    """Each step is a list of orders or labels; the pipeline is restarted after each."""
    driver = tm.testing.Driver(pipeline, stages=stages, now=START + timedelta(days=300))
    for step in steps:
        (driver.send if step and "customer" in step[0] else driver.send_labels)(step)
        driver.run()
        driver.restart()
    return driver


def seen(driver):
    return sorted((o.event_id, o.revision, o.label, o.label_delay.total_seconds() / 3600) for o in driver.outcomes())


def refused(driver):
    return Counter((rejection.stage, rejection.reason) for rejection in driver.rejections())


@pytest.mark.parametrize("stages", ["all", "each"])
def test_an_outcome_has_what_was_predicted_and_what_happened(stages):
    driver = run(
        declare(annotator="clerk", confidence="sure", revision="no"),
        [order(3), order(4)],
        [label(3, "no", 2.5, clerk="ada", sure=0.75, no=7)],
        stages=stages,
    )
    (outcome,) = driver.outcomes()
    assert (outcome.event_id, outcome.event_time, outcome.model_version) == ("o3", START, "prior")
    assert outcome.features == {"amount": 1.5, "orders": 0}
    assert (outcome.value, outcome.probabilities) == ("no", {"no": 0.75, "yes": 0.25})
    assert (outcome.label, outcome.label_time) == ("no", START + timedelta(hours=2.5))
    assert outcome.label_delay == timedelta(hours=2.5)
    assert (outcome.annotator, outcome.confidence, outcome.revision) == ("ada", 0.75, 7)
    (prediction,) = (p for p in driver.predictions() if p.event_id == "o3")
    assert (outcome.source_partition, outcome.source_offset) == (prediction.source_partition, prediction.source_offset)
    (record,) = driver.records("outcomes")
    assert record.key == b"o3"


@pytest.mark.parametrize("stages", ["all", "each"])
def test_it_does_not_matter_what_came_first(stages):
    orders = [order(n) for n in range(6)]
    labels = [label(0), label(1, "no", 30), label(2), label(2, "no", 2), label(2, "no", 3), label(4, None)]
    ways = [run(declare(), *way, stages=stages) for way in ([orders, labels], [labels, orders])]
    assert seen(ways[0]) == seen(ways[1]) == [("o0", 0, "yes", 1), ("o2", 0, "yes", 1), ("o2", 1, "no", 2)]
    assert [refused(way) for way in ways] == [{("outcomes", "late_label"): 1}] * 2


@pytest.mark.parametrize(
    ("policies", "outcomes", "rejections"),
    [
        ({}, ["o0", "o1", "o1", "o3"], {"late_label": 1, "unknown_id": 1}),
        ({"late": "join"}, ["o0", "o1", "o1", "o2", "o3"], {"unknown_id": 1}),
        ({"late": "drop", "unknown": "drop"}, ["o0", "o1", "o1", "o3"], {}),
        ({"changed": "reject"}, ["o0", "o1", "o3"], {"late_label": 1, "unknown_id": 1, "changed_label": 1}),
        ({"changed": "drop"}, ["o0", "o1", "o3"], {"late_label": 1, "unknown_id": 1}),
        ({"early": "reject"}, ["o0", "o1", "o1"], {"late_label": 1, "early_label": 2}),
        ({"early": "drop"}, ["o0", "o1", "o1"], {"late_label": 1}),
    ],
)
def test_policies(policies, outcomes, rejections):
    driver = run(
        declare(**policies),
        [label(3), label(99)],
        [order(n) for n in range(4)],
        [label(0), label(0), label(1), label(1, "no"), label(2, "yes", 25)],
        [order(50, 26)],
    )
    assert sorted(o.event_id for o in driver.outcomes()) == outcomes
    assert {reason: count for (_, reason), count in refused(driver).items()} == rejections


def test_what_is_no_label_is_rejected_by_the_intake():
    driver = tm.testing.Driver(declare(confidence="sure"), now=START)
    driver.send([order(n) for n in range(9)])
    contract = driver.plan.contracts["labels"]
    rows = [
        {"id": None, "paid": "yes"},
        {"id": "o1", "paid": "perhaps"},
        {"id": "o2", "paid": "yes", "sure": 1.5},
        {"id": "o3", "paid": "yes", "fee": -1.0},
        {"id": "o4", "paid": None},
        {"id": "o5", "paid": "no"},
    ]
    from tidemill.schemas.codec import Codec
    from tidemill.schemas.codec.rows import to_columns
    from tidemill.schemas.resolver import KnownSchemas

    for value in Codec(contract, KnownSchemas()).encode(to_columns(contract, rows)):
        driver.send_bytes(value, key=b"k", topic="labels")
    driver.send_bytes(b"\x00nonsense", topic="labels")
    driver.run()
    found = Counter((r.stage, r.reason) for r in driver.rejections())
    assert found == {
        ("label_intake", "no_id"): 1,
        ("label_intake", "bad_label"): 2,
        ("label_intake", "out_of_range"): 1,
        ("label_intake", "unknown_schema"): 1,
    }
    assert {r.topic for r in driver.rejections()} == {"orders.labels"}
    assert [(o.event_id, o.label_time) for o in driver.outcomes()] == [("o5", START)]


def test_labels_without_a_time_are_set_against_when_the_event_was_sent():
    driver = tm.testing.Driver(declare(time=None), now=START + timedelta(days=300))
    driver.send([order(0), order(1)])
    driver.run()
    driver.advance(timedelta(hours=3))
    driver.send_labels([{"id": "o0", "paid": "yes"}])
    driver.advance(timedelta(hours=22))
    driver.send_labels([{"id": "o1", "paid": "yes"}])
    driver.run()
    assert seen(driver) == [("o0", 0, "yes", 3)]
    assert refused(driver) == {("outcomes", "late_label"): 1}


def test_a_rejected_label_goes_back_to_the_labels():
    driver = run(declare(), [order(0)], [label(0, "yes", 30)])
    assert refused(driver) == {("outcomes", "late_label"): 1}
    retried = retry(MemoryReader(driver.log), "orders", Selection(), MemoryTransactions(driver.log))
    assert (retried.sent, retried.not_events) == (1, 0)
    assert len(driver.records("labels")) == 2
    assert len(driver.records("events")) == 1
    again = retry(MemoryReader(driver.log), "orders", Selection(), MemoryTransactions(driver.log))
    assert (again.sent, again.already) == (0, 1)
    driver.run()
    assert refused(driver) == {("outcomes", "late_label"): 2}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"late": "rejct"}, "late='rejct'.*did you mean 'reject'"),
        ({"early": "join"}, "early='join'.*expected one of wait, reject, drop"),
        ({"time": "att"}, "no field 'att'; did you mean 'at'"),
        ({"time": "clerk"}, "clerk is the labels' time: expected a timestamp"),
        ({"revision": "sure"}, "sure is the labels' revision: expected an integer"),
        ({"confidence": "clerk"}, "clerk is the labels' confidence: expected a number"),
        ({"within": "soon"}, "expected a duration"),
        ({"grace": "-1h"}, "expected a duration"),
    ],
)
def test_what_cannot_be_is_refused(changed, message):
    with pytest.raises(tm.TidemillError, match=message):
        declare(**changed).plan()


@pytest.mark.parametrize("stages", ["all", "each"])
def test_profiles_add_up_to_those_of_all_rows(stages):
    pipeline = declare(tm.Profiles(window="6h", slices=["value"]), within="2d")
    orders = [order(n, n / 4) for n in range(60)]
    labels = [label(n, ["yes", "no"][n % 2], n / 4 + 1) for n in range(0, 60, 2)]
    driver = run(pipeline, orders[:25], labels[:10], orders[25:], labels[10:], [label(0, "no")], stages=stages)
    deltas = read_deltas(driver.records("profiles"))
    assert all(delta is not None for delta in deltas)
    merged = {}
    for delta in deltas:
        if delta.key.kind != "rejections":
            merged.setdefault(delta.key, []).append(delta.profile)
    rows = driver.table("features").join(
        driver.table("predictions").drop_columns(["event_key", "event_time"]), ["event_id"], join_type="inner"
    )
    frame = pl.from_arrow(driver.table("features")).join(
        pl.from_arrow(driver.table("predictions")).select("event_id", "model_version", "value", "^probability_.*$"),
        on="event_id",
        suffix="_predicted",
    )
    assert len(rows) == len(frame) == 60
    outcomes = pl.from_arrow(driver.table("outcomes")).filter(pl.col("revision") == 0)
    for key, parts in merged.items():
        made = merge_all(parts)
        chosen = frame if key.kind != "outcomes" else outcomes
        named = "value" if key.kind != "outcomes" else "feature_value"
        inside = chosen.filter(
            (pl.col("event_time").dt.epoch("ms") >= key.start) & (pl.col("event_time").dt.epoch("ms") < key.end)
        )
        if key.slice:
            field, _, word = key.slice.partition("=")
            assert field == "value"
            inside = inside.filter(pl.col(named) == word)
        assert made.rows == len(inside) > 0
        table = inside.with_columns(pl.col("source_partition").cast(pl.Int32)).to_arrow()
        scope = Scope("orders", key.start, key.end, key.slice, made.scope.model_version)
        if key.kind == "features":
            expected = profile_of(table, "features", ["amount", "orders"], scope)
        elif key.kind == "predictions":
            table = table.set_column(table.column_names.index("value"), "value", table["value_predicted"])
            expected = profile_of_predictions(table, pipeline.target(), scope)
        else:
            expected = profile_of_outcomes(table, pipeline.target(), scope)
            assert sum(block.rows for part in parts for block in part.sequence) == len(inside)
        ours = {**to_record(made), "sequence": []}
        assert str(ours) == str(to_record(expected))
    kinds = Counter((key.kind, bool(key.slice)) for key in merged)
    assert kinds[("features", False)] == 3
    assert kinds[("outcomes", True)] >= 3


def test_profiles_call_features_by_their_own_names():
    pipeline = tm.Pipeline(
        "orders",
        tm.Events(ORDER, key="customer", time="at", id="id"),
        features=[tm.expression(revision=pl.col("amount"))],
        labels=tm.Labels(PAYMENT, id="id", label=pl.col("paid"), classes=["no", "yes"], time="at"),
        model=tm.Model(LogisticRegression(), ["revision"], prior={"no": 0.75, "yes": 0.25}),
        profiles=tm.Profiles(),
    )
    driver = run(pipeline, [order(1), order(2)])
    deltas = read_deltas(driver.records("profiles"))
    assert {name for d in deltas if d.key.kind == "features" for name in d.profile.numbers} == {"revision"}


@pytest.mark.parametrize("stages", ["all", "each"])
@pytest.mark.parametrize("windows", [[], [tm.window("value", over="1h", of_its_kind=tm.count())]])
@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_rejections_are_profiled_in_the_window_that_their_partition_had_reached(stages, windows, batch):
    checks = [tm.check("is_paid", pl.col("amount") >= 0)]
    pipeline = declare(tm.Profiles(window="6h"), checks, windows, within="2d")
    driver = tm.testing.Driver(pipeline, stages=stages, now=START + timedelta(days=300))
    expected = Counter()
    for n in range(60):
        # All are of one partition. What is rejected says that it is of any time.
        if n % 5 == 2:
            made_up = [START - timedelta(days=90), START + timedelta(days=900), START + timedelta(hours=n / 2)][n % 3]
            driver.send([{**order(3 * n), "at": made_up, "amount": -1.0}])
            expected[(n - 1) // 12, "check_failed"] += 1
        else:
            driver.send([order(3 * n, n / 2)])
        if n == 33:
            driver.send_bytes(b"nonsense", key=b"c0")
            expected[n // 12, "unknown_framing"] += 1
    driver.run(batch)
    found, windows = Counter(), set()
    for delta in read_deltas(driver.records("profiles")):
        if delta.key.kind == "rejections":
            assert not delta.reached
            window = (delta.key.start - int(START.timestamp() * 1000)) // (6 * 3_600_000)
            windows.add(window)
            for reason, count in delta.profile.categories["reason"].top():
                found[window, reason] += count
    assert found == expected
    assert sum(found.values()) == len(driver.rejections()) == 13
    assert windows == {0, 1, 2, 3, 4}


def test_outcomes_can_be_left_out():
    def without(**more):
        return tm.Pipeline(
            "orders",
            tm.Events(ORDER, key="customer", time="at", id="id"),
            features=[tm.fields("amount")],
            labels=tm.Labels(PAYMENT, id="id", label=pl.col("paid"), classes=["no", "yes"], time="at"),
            model=tm.Model(LogisticRegression(), ["amount"], prior={"no": 0.75, "yes": 0.25}),
            publish=["validated", "features", "predictions"],
            **more,
        )

    driver = run(without(), [order(1)], [label(1)])
    assert len(driver.predictions()) == 1
    assert {"orders.labels"} == {spec.name for spec in driver.plan.topics()} & {
        f"orders.{suffix}" for suffix in ("labels", "scored", "outcomes", "profiles")
    }
    with pytest.raises(tm.DeclarationError, match="add 'outcomes' to publish"):
        without(profiles=tm.Profiles()).plan()


def test_how_labels_stand():
    orders = [order(n, n / 10) for n in range(30)] + [order(n, 48) for n in range(30, 40)]
    labels = [label(n, "yes", n / 10 + (1 if n % 2 else 5)) for n in range(20)]
    driver = run(declare(), labels[:2], orders, labels[2:], [label(0), label(1, "no"), label(29, "yes", 40), label(77)])
    found = driver.label_status()
    assert (found.waiting, found.early) == (20, 0)
    assert found.counts == {
        "joined": 20,
        "early": 3,
        "late": 1,
        "unknown": 1,
        "doubled": 1,
        "changed": 1,
        "outdated": 0,
        "repeated": 0,
    }
    assert found.delays["p50"] == pytest.approx(3600, rel=0.1)
    assert found.delays["p90"] == pytest.approx(5 * 3600, rel=0.1)
    first, second = found.days
    assert (first.day.isoformat(), first.predictions, first.labelled) == ("2024-01-01", 30, 20)
    assert first.mature
    assert (second.day.isoformat(), second.predictions, second.labelled, second.mature) == ("2024-01-03", 10, 0, False)
