"""The stretches of a job: in the order of time, mature, and without a label that was not known yet."""

import itertools
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tidemill.processors.training.stretches import mature_until, stretches, windows

START = datetime(2026, 1, 1, tzinfo=UTC)


def table(hours, delays):
    times = [START + timedelta(hours=float(hour)) for hour in hours]
    known = [time + timedelta(hours=float(delay)) for time, delay in zip(times, delays, strict=True)]
    kind = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "event_time": pa.array(times, kind),
            "known_time": pa.array(known, kind),
            "source_partition": pa.array([0] * len(times), pa.int32()),
            "source_offset": pa.array(range(len(times)), pa.int64()),
        }
    )


def test_rows_count_up_to_where_nearly_all_labels_are_in():
    rows = table(range(100), [1] * 90 + [30] * 10)
    reached = START + timedelta(hours=110)
    assert mature_until(rows, reached) == reached - timedelta(hours=30)
    cut = stretches(rows, reached)
    assert (cut.train.num_rows + cut.choose.num_rows + cut.examine.num_rows, cut.immature) == (81, 19)


def test_the_windows_are_distinct_and_end_with_the_newest_row():
    rows = table(range(64), [0] * 64)
    made = windows(rows, START + timedelta(hours=32))
    assert {name: each.num_rows for name, each in made.items()} == {
        "all": 64,
        "since the change": 32,
        "newest quarter": 16,
        "newest eighth": 8,
    }
    assert all(each["event_time"][-1] == rows["event_time"][-1] for each in made.values())


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 60)), min_size=1, max_size=80),
    st.integers(0, 100),
)
def test_no_stretch_knows_of_a_later_one(rows, more):
    hours, delays = zip(*rows, strict=True)
    made = table(hours, delays)
    cut = stretches(made, START + timedelta(hours=max(hours) + more))
    parts = [cut.train, cut.choose, cut.examine]
    for before, after in itertools.pairwise(parts):
        if before.num_rows and after.num_rows:
            first = after["event_time"][0].as_py()
            assert max(before["event_time"].to_pylist()) <= first
            assert max(before["known_time"].to_pylist()) <= first
    seen = np.concatenate([part["source_offset"].to_numpy() for part in parts])
    assert len(np.unique(seen)) == len(seen)
    assert cut.immature == sum(time.as_py() > cut.mature_until for time in made["event_time"])
