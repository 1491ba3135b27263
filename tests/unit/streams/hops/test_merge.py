"""The order of rows that come from several partitions."""

import pyarrow as pa
import pytest

from tidemill.processors.feature_enrichment.hops import STREAM_TIME
from tidemill.streams.hops.block import OFFSET, PARTITION, Block, Mark
from tidemill.streams.hops.merge import Merge

SCHEMA = pa.schema([(PARTITION, pa.int64()), (OFFSET, pa.int64()), (STREAM_TIME, pa.int64())])


def block(partition, *rows, time=None, idle=False):
    """Rows of a partition as (offset, stream time), and how far it has come."""
    columns = [[partition] * len(rows), [offset for offset, _ in rows], [at for _, at in rows]]
    arrays = [pa.array(column, pa.int64()) for column in columns]
    reached = rows[-1][1] if time is None else time
    return Block(pa.table(arrays, schema=SCHEMA), "test", {partition: Mark(reached, 0, idle)})


def places(table):
    return list(zip(table[PARTITION].to_pylist(), table[OFFSET].to_pylist(), strict=True))


@pytest.fixture
def merge():
    return Merge(SCHEMA, 2, {}, 0)


def test_a_row_waits_for_every_partition_that_could_still_be_before_it(merge):
    assert places(merge.take([(0, block(0, (0, 10), (1, 20)))])) == []
    # Of equal times the lower partition is first: nothing of it can come before (10, 1) any more.
    assert places(merge.take([(1, block(1, (0, 10), (1, 15)))])) == [(0, 0), (1, 0), (1, 1)]
    assert merge.next_input == 0
    assert places(merge.take([(2, block(1, (2, 30)))])) == [(0, 1)]
    assert merge.next_input == 2


def test_a_quiet_partition_is_left_out_and_what_it_brings_late_comes_behind_the_frontier(merge):
    merge.take([(0, block(0, (0, 100))), (1, block(1, time=5, idle=True))])
    assert merge.next_input == 2
    # It wakes with an older row: that is not before what was released, but before all that comes after.
    assert places(merge.take([(2, block(0, (1, 130)))])) == [(0, 1)]
    assert places(merge.take([(3, block(1, (0, 50), (1, 60))), (4, block(0, (2, 140)))])) == [(1, 0), (1, 1)]
    assert merge.late == 2
    assert places(merge.take([(5, block(1, time=60, idle=True))])) == [(0, 2)]


def test_when_all_are_quiet_nothing_is_held_back(merge):
    found = merge.take([(0, block(0, (0, 9), idle=True)), (1, block(1, (0, 4), idle=True))])
    assert places(found) == [(1, 0), (0, 0)]


LOG = [
    block(0, (0, 10), (1, 20)),
    block(1, (0, 12)),
    block(0, (2, 21), idle=True),
    block(1, (1, 40), (2, 45)),
    block(0, (3, 30), (4, 44)),
    block(1, (2, 45), (3, 50)),
    block(1, time=50, idle=True),
    block(0, (5, 70)),
    block(1, (4, 60), (5, 61)),
    block(0, time=70, idle=True),
    block(1, time=61, idle=True),
]


@pytest.mark.parametrize("cut", range(1, len(LOG)))
def test_a_restart_at_any_block_changes_nothing(cut):
    log = list(enumerate(LOG))
    whole = places(Merge(SCHEMA, 2, {}, 0).take(log))
    assert len(whole) == len(set(whole)) == 12
    first = Merge(SCHEMA, 2, {}, 0)
    found = places(first.take(log[:cut]))
    again = Merge(SCHEMA, 2, first.clock(), first.next_input)
    for number in range(first.next_input, len(log)):
        found += places(again.take(log[number : number + 1]))
    assert found == whole
    assert again.next_input == len(log)
