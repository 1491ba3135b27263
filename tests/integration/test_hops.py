"""Windows on two keys, by several workers of which some are killed: what one undisturbed run in memory makes."""

import json

import pytest

import tidemill as tm

STAGES = ("sanity_check", "windows_by_shop", "feature_assembly", "label_intake", "outcomes")

WINDOW = """
        tm.window("shop", over="2h", resolution="1m", shop_orders=tm.count(), shop_total=tm.sum("amount")),
        tm.expression(share=pl.col("total") / (pl.col("shop_total") + 1)),
    ],
    idle="2s",
"""


def features_in_memory(mill):
    """The bytes of the features that the driver makes of the events on the mill's topic."""
    driver = tm.testing.Driver(mill.file, partitions=2)
    for event in mill.read("events"):
        at = event.timestamp()[1]
        driver.log.append(f"{mill.name}.events", event.key(), event.value(), partition=event.partition(), timestamp=at)
    driver.run()
    return [(r.partition, r.timestamp, r.key, r.value) for r in driver.records("features")]


@pytest.mark.slow
def test_workers_that_are_killed_change_nothing(make_mill, orders):
    source = make_mill.source.replace("        # more features\n    ],\n", WINDOW)
    assert "shop_total" in source
    mill = make_mill(source.replace("partitions=3", "partitions=2"))
    supervisor = mill.run("--workers", "2", "--max-batch", "60")
    mill.wait(0)
    mill.send(orders.make(1_500))
    mill.wait(200)
    for worker in mill.wait_for_workers(supervisor, 2)[:1]:
        worker.kill()
    mill.wait(1_500)
    made = [(m.partition(), m.timestamp()[1], m.key(), m.value()) for m in mill.read("features")]
    assert made == features_in_memory(mill)
    assert orders.check(mill) == 1_500
    found = mill.audit()
    assert found["holds"]
    assert found["waiting"] == 0
    replayed = json.loads(mill.cli("replay", str(mill.file), "--compare", "--json").splitlines()[0])
    assert replayed["holds"]
    assert replayed["equal"] == len(made)
    assert {
        group["name"] for group in json.loads(mill.cli("status", mill.name, "--json").splitlines()[0])["groups"]
    } == {f"{mill.name}.{stage}" for stage in STAGES}
    assert mill.stop(supervisor) == 0
