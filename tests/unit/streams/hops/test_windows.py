"""The windows of a hop, as a user sees them."""

from datetime import timedelta

import tidemill as tm

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "customer", "type": "string"},
        {"name": "shop", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}


def test_one_event_dated_far_ahead_expires_no_other_key():
    pipeline = tm.Pipeline(
        "ahead",
        tm.Events(ORDER, key="customer", time="at", id="id"),
        features=[tm.window("shop", over="1h", earlier=tm.count())],
        partitions=1,
    )
    driver = tm.testing.Driver(pipeline)

    def send(number, shop, ahead=timedelta(0)):
        driver.send({"id": f"o{number}", "customer": "c", "shop": shop, "at": driver.now + ahead})
        driver.advance(timedelta(seconds=1))
        driver.run()

    send(1, "a")
    send(2, "b", timedelta(days=3_650))
    send(3, "a")
    driver.advance(timedelta(minutes=5))
    driver.run()
    assert [(row["event_id"], row["earlier"]) for row in driver.features()] == [("o1", 0), ("o2", 0), ("o3", 1)]
