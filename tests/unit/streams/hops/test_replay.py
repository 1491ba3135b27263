"""Replaying a pipeline with windows on another key: all partitions together make what the live run made."""

from datetime import timedelta

import polars as pl
import pytest

import tidemill as tm
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.hops.replay import HopReplay, replay_of
from tidemill.streams.memory import MemoryReader

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


def declare(*features):
    shops = tm.topic_table("shops", SHOP, key=["shop"])
    return tm.Pipeline(
        "orders",
        tm.Events(ORDER, key="customer", time="at", id="id"),
        checks=[tm.between("amount", 0, 1000)],
        features=[
            tm.lookup(shops, on=["shop"], columns=["rank"]),
            tm.window("shop", over="1h", resolution="1m", orders=tm.count(), ranks=tm.sum("rank")),
            tm.expression(share=pl.col("amount") / pl.col("ranks")),
            *features,
        ],
        partitions=3,
    )


@pytest.fixture(scope="module")
def driver():
    made = tm.testing.Driver(declare())
    for step in range(4):
        made.put_table("shops", {"shop": f"s{step % 3}", "rank": step})
        for number in range(40):
            made.send(
                {
                    "id": f"o{step}-{number}",
                    "customer": f"c{number % 7}",
                    "at": made.now,
                    "amount": float(number % 9) if number % 10 else -1.0,
                    "shop": f"s{number % 4}",
                }
            )
            made.advance(timedelta(seconds=50))
        made.run(7)
    return made


def replayed(driver, pipeline=None, **options):
    plan = (pipeline or driver.pipeline).make_plan()
    schemas = KnownSchemas(driver.plan.contracts.values())
    replay = replay_of(plan, MemoryReader(driver.log), schemas, compare=True, **options)
    assert isinstance(replay, HopReplay)
    return [replay.partition(p) for p in replay.partitions]


def test_the_same_features_come_out_of_all_partitions_together(driver):
    steps = []
    results = replayed(driver, progress=steps.append)
    assert all(result.holds for result in results)
    assert sum(r.equal for r in results) == len(driver.records("features")) == 144
    assert sum(r.events for r in results) == 160
    assert sum(r.rejected["sanity_check: out_of_range"] for r in results) == 16
    assert sum(r.missing + r.waiting + r.surplus for r in results) == 0


def test_a_changed_byte_is_found(driver):
    record = driver.records("features")[5]
    codec = Codec(driver.plan.contracts["features"], KnownSchemas())
    (row,) = codec.decode([record.value]).table.to_pylist()
    driver.log.append("orders.features", record.key, codec.encode_rows([row | {"orders": 99}])[0], partition=0)
    found = [found for result in replayed(driver) for found in result.differences]
    assert [(f.partition, f.offset, f.field, f.found) for f in found if f.field == "orders"] == [
        (row["source_partition"], row["source_offset"], "orders", 99)
    ]


def test_a_table_that_windows_look_up_in_has_no_way_back(driver):
    schema = {
        "type": "record",
        "name": "Rank",
        "fields": [{"name": "orders", "type": "long"}, {"name": "worth", "type": "long"}],
    }
    table = tm.topic_table("ranks", tm.Contract.parse(schema), key=["orders"])
    pipeline = declare(tm.lookup(table, on=["orders"], columns=["worth"]))
    with pytest.raises(tm.StreamError, match="table ranks is looked up by what windows on other keys make"):
        replayed(driver, pipeline)


def test_rows_that_were_late_across_partitions_are_met_in_the_order_of_the_log():
    """A partition that comes back with earlier events after the others went on without it."""
    driver = tm.testing.Driver(declare())
    driver.put_table("shops", {"shop": "s1", "rank": 1})
    for start, customers in ((1000, "abc"), (0, "defgh"), (1030, "abcdefgh"), (500, "abcdefgh")):
        for number in range(12):
            at = driver.now.replace(hour=5) + timedelta(seconds=start + 20 * number)
            customer = customers[number % len(customers)]
            order = {"id": f"{start}-{number}", "customer": customer, "at": at, "amount": 1.0, "shop": "s1"}
            driver.send(order)
        driver.run(5)
    results = replayed(driver)
    assert sum(r.equal for r in results) == 48
    assert all(result.holds for result in results)
    # In the order that the events decide, they would not have come out so.
    ideal = tm.testing.Driver(declare())
    ideal.put_table("shops", {"shop": "s1", "rank": 1})
    for record in driver.records("events"):
        ideal.log.append("orders.events", record.key, record.value, partition=record.partition, timestamp=0)
    ideal.run()
    assert [row["orders"] for row in ideal.features()] != [row["orders"] for row in driver.features()]
