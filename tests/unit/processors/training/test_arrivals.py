import numpy as np
import pyarrow as pa

from tidemill.processors.training.arrivals import KNOWN, OFFSET, PARTITION, Arrivals


def rows(*times):
    return pa.table({"label_time": pa.array(times, pa.timestamp("us", "UTC"))})


def places(table):
    return [] if table is None else list(zip(table[PARTITION].to_pylist(), table[OFFSET].to_pylist(), strict=True))


def add(arrivals, partition, *times, first=0):
    arrivals.add(partition, rows(*times), np.arange(first, first + len(times)))


def test_nothing_is_given_out_before_every_partition_has_something():
    arrivals = Arrivals([0, 1])
    add(arrivals, 0, 1, 2)
    assert arrivals.ready([]) is None
    assert places(arrivals.ready([1])) == [(0, 0), (0, 1)]


def test_rows_come_by_label_time_and_wait_for_what_may_belong_before_them():
    arrivals = Arrivals([0, 1])
    add(arrivals, 0, 1, 5, 9)
    add(arrivals, 1, 2, 5, first=7)
    ready = arrivals.ready([])
    assert places(ready) == [(0, 0), (1, 7), (0, 1), (1, 8)]
    arrivals.drop(ready)
    assert arrivals.ready([]) is None
    assert arrivals.waiting(0) == 1
    add(arrivals, 1, 9, 10, first=9)
    assert places(arrivals.ready([])) == [(0, 2)]


def test_a_late_label_keeps_its_place_in_its_partition():
    arrivals = Arrivals([0, 1])
    add(arrivals, 0, 8, 3)
    add(arrivals, 1, 5, 20)
    ready = arrivals.ready([])
    assert places(ready) == [(1, 0), (0, 0), (0, 1)]
    assert ready[KNOWN].to_pylist() == [5, 8, 8]


def test_what_was_known_counts_until_a_version_is_published():
    arrivals = Arrivals([0])
    add(arrivals, 0, 8, 3)
    arrivals.drop(arrivals.ready([]).slice(0, 1))
    assert arrivals.ready([])[KNOWN].to_pylist() == [8]
    arrivals.restart()
    assert arrivals.ready([])[KNOWN].to_pylist() == [3]
