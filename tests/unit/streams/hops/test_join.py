"""Events wait for what the hops make of them, and come out in their own order."""

import pyarrow as pa
import pytest

from tidemill.streams.hops.block import OFFSET, Block, MalformedBlock, Mark
from tidemill.streams.hops.join import Join

ROWS = pa.schema([pa.field("x", pa.float64())])
MADE = {"a": pa.schema([pa.field("n", pa.int64(), nullable=False)]), "b": pa.schema([pa.field("m", pa.float64())])}
NOTHING = {
    hop: pa.table({f.name: pa.array([0], f.type) for f in schema}, schema=schema) for hop, schema in MADE.items()
}


def join(following=0, start=0):
    return Join(ROWS, MADE, NOTHING, following, start)


def rows(*offsets, following=None, hops=("a", "b")):
    table = pa.table({OFFSET: pa.array(offsets, pa.int64()), "x": pa.array([float(o) for o in offsets])})
    return Block(table, "feature_enrichment", {0: Mark(0, following or max(offsets, default=-1) + 1)}, hops)


def made(hop, *offsets):
    (field,) = MADE[hop]
    return Block(pa.table({OFFSET: pa.array(offsets, pa.int64()), field.name: pa.array(offsets, field.type)}), hop)


def take(it, *blocks, start=0, most=100):
    out = it.take([(start + i, it.check(block)) for i, block in enumerate(blocks)], 0, most)
    return out[OFFSET].to_pylist(), it.following, it.next_input


def test_events_come_out_in_order_when_every_hop_has_answered():
    it = join()
    assert take(it, rows(0, 2, 5, following=7), made("a", 5, 0), made("b", 0)) == ([0], 2, 0)
    assert take(it, made("b", 2, 5), start=3) == ([], 2, 0)
    assert take(it, made("a", 2), start=4) == ([2, 5], 7, 5)


def test_a_restart_goes_on_where_it_stood():
    blocks = [rows(0, 1), made("a", 0), made("b", 0), rows(2), made("a", 1, 2), made("b", 1, 2)]
    first = join()
    assert take(first, *blocks[:4]) == ([0], 1, 0)
    again = join(first.following, first.next_input)
    assert take(again, *blocks) == ([1, 2], 3, 6)


def test_what_comes_twice_is_passed_over():
    it = join()
    assert take(it, rows(0, 1), made("a", 0, 1), rows(0, 1, 2), made("b", 0, 1), made("b", 0, 1)) == ([0, 1], 2, 2)
    assert take(it, made("a", 2), made("b", 2), start=5) == ([2], 3, 7)


def test_rows_that_were_never_sent_to_a_hop_do_not_wait_for_it():
    assert take(join(), rows(0, 1, hops=("b",)), made("b", 0, 1)) == ([0, 1], 2, 2)


def test_no_more_at_once_than_is_asked_for():
    it = join()
    assert take(it, rows(0, 1, 2), made("a", 0, 1, 2), made("b", 0, 1, 2), most=2) == ([0, 1], 2, 0)
    assert it.ready == 1
    assert take(it, start=3) == ([2], 3, 3)
    assert it.ready == 0


@pytest.mark.parametrize(
    "value", [None, b"", b"garbage", b"{}", pa.table({"x": [1]}).to_batches()[0].serialize().to_pybytes()]
)
def test_what_is_no_block_is_said_to_be_none(value):
    with pytest.raises(MalformedBlock, match="expected a block of rows"):
        Block.decode(value)
    with pytest.raises(MalformedBlock, match="'x': expected double"):
        join().check(Block(pa.table({OFFSET: [1], "x": ["text"]}), "feature_enrichment"))


def test_a_large_block_is_cut_and_its_marks_go_last():
    count = 100_000
    table = pa.table({OFFSET: pa.array(range(count)), "x": pa.array([0.5] * count)})
    parts = [Block.decode(value) for value in Block(table, "s", {1: Mark(5, 6, True)}, ("a",)).encode()]
    assert len(parts) > 1
    assert pa.concat_tables([part.rows for part in parts]).equals(table)
    assert [dict(part.marks) for part in parts] == [{}] * (len(parts) - 1) + [{1: Mark(5, 6, True)}]
