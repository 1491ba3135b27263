from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from tidemill.processors.training import join_labels


def features(*rows):
    return pa.table(
        {
            "event_id": pa.array([row[0] for row in rows], pa.string()),
            "event_time": pa.array([datetime(2026, 1, row[1], tzinfo=UTC) for row in rows], pa.timestamp("us", "UTC")),
            "source_partition": pa.array([row[2] for row in rows], pa.int32()),
            "source_offset": pa.array([row[3] for row in rows], pa.int64()),
        }
    )


def labels(*rows, kind=None):
    return pa.table(
        {"id": pa.array([row[0] for row in rows], kind), "delay": pa.array([r[1] for r in rows], pa.int64())}
    )


def joined(given, arrived):
    rows = join_labels(given, arrived, label_id="id", label=pl.col("delay") > 15).to_pylist()
    return [(row["event_id"], row["label"]) for row in rows]


def test_only_events_with_a_label_in_the_order_of_time_and_then_of_the_log():
    given = features(("a", 3, 0, 0), ("b", 1, 1, 5), ("c", 1, 0, 9), ("d", 1, 1, 4), ("e", 2, 0, 1))
    arrived = labels(("a", 20), ("b", 10), ("c", 30), ("d", 16), ("x", 99))
    assert joined(given, arrived) == [("c", True), ("d", True), ("b", False), ("a", True)]


def test_the_last_label_counts():
    assert joined(features(("a", 1, 0, 0)), labels(("a", 20), ("a", 10))) == [("a", False)]


def test_a_null_label_says_nothing_so_that_an_earlier_one_stays():
    given = features(("a", 1, 0, 0), ("b", 1, 0, 1))
    assert joined(given, labels(("a", 20), ("a", None), ("b", None))) == [("a", True)]


def test_ids_may_be_numbers():
    assert joined(features(("7", 1, 0, 0)), labels((7, 20), kind=pa.int64())) == [("7", True)]


def test_nothing_to_join():
    empty = labels(kind=pa.string())
    assert joined(features(("a", 1, 0, 0)), empty) == []
    assert joined(features(), labels(("a", 1))) == []
