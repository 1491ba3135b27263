"""Replaying what a driver has run: the same features come out, or it is said where they do not."""

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

import tidemill as tm
from tidemill.schemas.codec import Codec
from tidemill.schemas.framing import Confluent
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.comparison import Difference, Stretch
from tidemill.streams.memory import MemoryReader
from tidemill.streams.replay import Replay

NOW = datetime(2024, 3, 1, 9, tzinfo=UTC)
ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "customer", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "amount", "type": "double"},
        {"name": "shop", "type": "string"},
    ],
}
SHOP = tm.Contract.parse(
    {
        "type": "record",
        "name": "Shop",
        "fields": [{"name": "shop", "type": "string"}, {"name": "rank", "type": ["null", "int"], "default": None}],
    }
)


def declare(high=1000, **more):
    return tm.Pipeline(
        "orders",
        tm.Events(ORDER, key="customer", time="at", id="id"),
        checks=[tm.between("amount", 0, high), tm.not_late("10m"), tm.unique(within="20m")],
        features=[
            tm.fields("amount"),
            tm.lookup(tm.topic_table("shops", SHOP, key=["shop"]), on=["shop"], columns=["rank"]),
            tm.expression(share=pl.lit(1.0) / pl.col("amount")),
            tm.window("customer", over="1h", resolution="1m", orders=tm.count(), ranks=tm.sum("rank")),
        ],
        **{"partitions": 2, **more},
    )


PIPELINE = declare()


def live(stages="all", pipeline=PIPELINE, steps=8):
    """A driver that has run 160 events, while its table and its workers changed."""
    driver = tm.testing.Driver(pipeline, now=NOW, stages=stages)
    for step in range(steps):
        driver.put_table("shops", {"shop": "ABC"[step % 3], "rank": step})
        if step == 5:
            driver.delete_from_table("shops", {"shop": "A"})
        for number in range(20):
            driver.advance(timedelta(seconds=40))
            driver.send(
                {
                    "id": f"o{(step * 20 + number) % 150 if number % 9 else step}",
                    "customer": f"c{number % 5}",
                    "at": driver.now - timedelta(minutes=number if number % 7 == 0 else 0),
                    "amount": 50.0 * number + 100,
                    "shop": "ABCD"[number % 4],
                }
            )
        driver.send_bytes(b"junk", key=b"c1")
        driver.run(max_batch=7)
        if step % 3 == 2:
            driver.restart()
    return driver


@pytest.fixture(scope="module")
def driver():
    return live()


@pytest.fixture
def own(driver):
    """The same with a log of its own, to spoil."""
    made = copy.copy(driver)
    made.log = copy.deepcopy(driver.log)
    return made


def replayed(driver, stretch=None, *, compare=True, pipeline=PIPELINE, plan=None):
    plan = plan or pipeline.make_plan()
    schemas = KnownSchemas(driver.pipeline.plan().contracts.values())
    replay = Replay(plan, MemoryReader(driver.log), schemas, stretch, compare=compare)
    return [replay.partition(partition) for partition in replay.partitions]


def total(results, name):
    return sum(getattr(result, name) for result in results)


def change(driver, place, **fields):
    """Write the features at a place (in the list of all) again, with other bytes; returns the event's place."""
    record = driver.records("features")[place]
    codec = Codec(driver.plan.contracts["features"], KnownSchemas())
    (row,) = codec.decode([record.value]).table.to_pylist()
    part = driver.log._topics["orders.features"][record.partition].records
    where = part.index(record)
    part[where] = replace(record, value=codec.encode_rows([row | fields])[0])
    return row["source_partition"], row["source_offset"]


@pytest.mark.parametrize("stages", ["all", "each"])
def test_the_same_features_come_out(stages, request):
    driver = request.getfixturevalue("driver") if stages == "all" else live(stages)
    results = replayed(driver)
    assert all(result.holds for result in results)
    features = len(driver.records("features"))
    assert features > 50
    for name in ("features", "compared", "equal"):
        assert total(results, name) == features
    for name in ("different", "missing", "surplus", "waiting", "expired"):
        assert total(results, name) == 0
    assert total(results, "events") == len(driver.records("events"))
    rejected = sum((result.rejected for result in results), start=type(results[0].rejected)())
    by_hand = [f"{r.stage}: {r.reason}" for r in driver.rejections() if r.stage != "online_inference"]
    assert rejected == {reason: by_hand.count(reason) for reason in set(by_hand)}
    assert len(rejected) == 4


def test_the_table_versions_are_those_of_the_live_run(driver):
    versions = {row["shops_version"] for row in driver.features()}
    assert len(versions) > 5
    assert {row["rank"] for row in driver.features()} >= {None, 0, 1, 2, 7}
    # Without going by the versions, the table as it is now would be looked up.
    plan = PIPELINE.make_plan()
    replay = Replay(plan, MemoryReader(driver.log), KnownSchemas(), compare=False)
    replay.partition(0)
    assert plan.topic_tables[0].table.version == driver.log.end("orders.table-shops", 0)


def test_a_changed_byte_is_found_with_field_and_both_values(own):
    partition, offset = change(own, 7, ranks=-1.0)
    results = replayed(own)
    assert not results[partition].holds
    assert results[1 - partition].holds
    assert (results[partition].different, total(results, "compared")) == (1, len(own.records("features")))
    (found,) = results[partition].differences
    assert (found.partition, found.offset, found.field, found.found) == (partition, offset, "ranks", -1.0)
    assert found.replayed >= 0.0


def test_zeros_of_different_signs_and_changed_keys_and_times_are_differences(own):
    (zero,) = [i for i, row in enumerate(own.features()) if row["ranks"] == 0.0][:1]
    partition, offset = change(own, zero, ranks=-0.0)
    assert replayed(own)[partition].differences == [Difference(partition, offset, "ranks", 0.0, -0.0)]
    part = own.log._topics["orders.features"][partition].records
    at = part[1].timestamp
    part[1] = replace(part[1], key=b"x", timestamp=1)
    by_field = {found.field: (found.replayed, found.found) for found in replayed(own)[partition].differences}
    assert by_field["record timestamp"] == (at, 1)
    assert by_field["record key"][1] == b"x"


def test_missing_and_surplus_features_are_named(own):
    features = own.log._topics["orders.features"]
    gone = features[0].records.pop(3)
    home, junk = next((r.partition, r.offset) for r in own.records("events") if r.value == b"junk")
    codec = Codec(own.plan.contracts["features"], KnownSchemas())
    (row,) = codec.decode([gone.value]).table.to_pylist()
    made = codec.encode_rows([row | {"source_partition": home, "source_offset": junk}])[0]
    own.log.append("orders.features", b"c1", made, partition=home)
    own.log.append("orders.features", b"c1", b"not a feature", partition=1)
    results = replayed(own)
    assert (results[0].missing, results[0].first_missing) == (1, [row["source_offset"]])
    assert results[home].first_surplus == [junk]
    assert total(results, "surplus") == 2
    assert not any(result.holds for result in results)


def test_only_a_few_differences_are_shown(own):
    for place in range(20):
        change(own, place, amount=-1.0)
    results = replayed(own)
    assert total(results, "different") == 20
    assert all(len(result.differences) <= 5 for result in results)


def test_a_second_copy_may_only_be_the_same(own):
    """At least once writes some features twice, with the same bytes."""
    for record in own.records("features")[:9]:
        own.log.append("orders.features", record.key, record.value, partition=record.partition,
                       timestamp=record.timestamp)  # fmt: skip
    assert all(result.holds for result in replayed(own))
    partition, offset = change(own, -1, amount=-1.0)
    (found,) = replayed(own)[partition].differences
    assert (found.offset, found.field, found.found) == (offset, "amount", -1.0)


def test_events_that_the_live_run_has_not_reached_are_waiting(driver):
    driver = live(steps=2)
    for number in range(30):
        driver.send({"id": f"x{number}", "customer": "c1", "at": driver.now, "amount": 100.0, "shop": "A"})
    results = replayed(driver)
    assert total(results, "waiting") == 30
    assert all(result.holds for result in results)


def test_a_registrys_framing_is_no_difference(own):
    for part in own.log._topics["orders.features"]:
        part.records = [replace(r, value=Confluent(7).prefix + r.value[10:]) for r in part.records]

    class Registry(KnownSchemas):
        def by_id(self, schema_id):
            return own.plan.contracts["features"] if schema_id == 7 else None

    replay = Replay(PIPELINE.make_plan(), MemoryReader(own.log), Registry(), compare=True)
    results = [replay.partition(partition) for partition in replay.partitions]
    assert total(results, "equal") == len(own.records("features"))
    assert all(result.holds for result in results)
    partition, offset = change_framed(own, 4)
    assert [(d.offset, d.field) for d in replay.partition(partition).differences] == [(offset, "amount")]


def change_framed(driver, place):
    record = driver.records("features")[place]
    codec = Codec(driver.plan.contracts["features"], KnownSchemas())
    plain = codec._prefix + record.value[5:]
    (row,) = codec.decode([plain]).table.to_pylist()
    part = driver.log._topics["orders.features"][record.partition].records
    changed = Confluent(7).prefix + codec.encode_rows([row | {"amount": -1.0}])[0][10:]
    part[part.index(record)] = replace(record, value=changed)
    return row["source_partition"], row["source_offset"]


@pytest.mark.parametrize(
    ("stretch", "holds"),
    [
        (Stretch(10), lambda r: r.offset >= 10),
        (Stretch(10, 30), lambda r: 10 <= r.offset < 30),
        (Stretch(0, 10_000), lambda r: True),
        (Stretch(since=1), lambda r: True),
        (Stretch(until=1), lambda r: False),
        (
            Stretch(since=int((NOW + timedelta(minutes=20)).timestamp() * 1000), until=1_709_290_000_000),
            lambda r: (
                NOW + timedelta(minutes=20) <= datetime.fromtimestamp(r.timestamp / 1000, UTC)
                and r.timestamp < 1_709_290_000_000
            ),
        ),
    ],
)
def test_a_range_is_compared_with_the_state_of_all_before_it(driver, stretch, holds):
    events = {(r.partition, r.offset) for r in driver.records("events") if holds(r)}
    features = [row for row in driver.features() if (row["source_partition"], row["source_offset"]) in events]
    results = replayed(driver, stretch)
    assert total(results, "events") == len(events)
    assert total(results, "compared") == total(results, "equal") == len(features)
    assert all(result.holds for result in results)


def test_other_versions_features_are_not_compared(driver):
    other = declare(high=999)
    versions = f"{driver.plan.version} of the pipeline, and this one is version {other.plan().version}"
    with pytest.raises(tm.StreamError, match=rf"orders.features\[0\]: the features of event offset \d+.* {versions}"):
        replayed(driver, pipeline=other)


def test_what_another_version_would_make_can_be_counted(driver):
    before, after = replayed(driver, compare=False), replayed(driver, compare=False, pipeline=declare(high=300))
    assert total(before, "features") == len(driver.records("features"))
    assert total(before, "compared") == 0
    assert total(after, "features") < total(before, "features")
    assert all(r.rejected["sanity_check: out_of_range"] > b.rejected["sanity_check: out_of_range"]
               for b, r in zip(before, after, strict=True))  # fmt: skip


def test_events_that_retention_has_deleted_make_comparing_impossible(own):
    own.log.delete_before("orders.events", 1, 3)
    with pytest.raises(tm.StreamError, match=r"orders.events\[1\] begins at offset 3: retention has deleted"):
        replayed(own)
    results = replayed(own, compare=False)
    assert total(results, "events") == len(own.records("events"))


def test_features_that_retention_has_deleted_are_not_missing(own):
    own.log.delete_before("orders.features", 0, 5)
    results = replayed(own)
    assert (results[0].expired, results[0].missing, results[0].holds) == (5, 0, True)
    own.log.delete_before("orders.features", 1, own.log.end("orders.features", 1))
    results = replayed(own)
    assert (results[1].compared, results[1].missing, results[1].expired) == (0, 0, results[1].features)


def test_what_compaction_has_taken_from_a_table_is_known(own):
    own.log.compact("orders.table-shops")
    replay = Replay(PIPELINE.make_plan(), MemoryReader(own.log), KnownSchemas(), compare=True)
    assert replay.tables["shops"].forgotten == 6
    results = [replay.partition(partition) for partition in replay.partitions]
    assert {found.field for result in results for found in result.differences} <= {"rank", "ranks"}
    assert not all(result.holds for result in results)


def test_the_progress_adds_up(driver):
    steps = []
    replay = Replay(PIPELINE.make_plan(), MemoryReader(driver.log), KnownSchemas(), compare=True, progress=steps.append)
    for partition in replay.partitions:
        replay.partition(partition)
    assert sum(steps) == replay.total(replay.partitions)
    assert replay.choose(1) == [1]
    with pytest.raises(tm.StreamError, match="partitions 0 to 1, and no 2"):
        replay.choose(2)


def test_nothing_is_written(driver):
    before = {topic: [part.end for part in parts] for topic, parts in driver.log._topics.items()}
    replayed(driver)
    assert before == {topic: [part.end for part in parts] for topic, parts in driver.log._topics.items()}
