import logging

import polars as pl
import pytest

from tidemill.processors.feature_enrichment import ReferenceTable
from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.plan import TopicTable
from tidemill.streams.tables import TableFollower

PLANE = Contract.parse(
    {
        "type": "record",
        "name": "Plane",
        "fields": [{"name": "tail", "type": "string"}, {"name": "seats", "type": "int"}],
    }
)
CODEC = Codec(PLANE, KnownSchemas())


def row(tail, seats):
    return CODEC.encode_rows([{"tail": tail, "seats": seats}])[0]


@pytest.fixture
def followed(stream):
    source = stream()
    table = ReferenceTable("planes", PLANE.arrow, ["tail"], version=0)
    return source, table, TableFollower(TopicTable("p.table-planes", PLANE, table), source, KnownSchemas())


def seats(table, *tails):
    return table.join(pl.DataFrame({"tail": tails}))["seats"].to_list()


def test_the_table_is_loaded_and_then_follows(followed):
    source, table, follower = followed
    source.add(b"a", row("a", 1))
    follower.start()
    assert source.waited == 1
    assert (seats(table, "a", "b"), table.version) == ([1, None], 1)
    source.add(b"b", row("b", 2))
    source.add(b"a", row("a", 3))
    follower.poll()
    assert (seats(table, "a", "b"), table.version) == ([3, 2], 3)
    follower.poll()
    assert table.version == 3


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ([("a", 1), ("a", None)], None),
        ([("a", 1), ("a", None), ("a", 2)], 2),
        ([("a", 1), ("a", 2), ("a", None), ("a", None)], None),
        ([("a", None), ("a", 2), ("b", 1), ("b", None)], 2),
        ([("a", 1), ("b", 9), ("a", 2), ("b", None)], 2),
    ],
)
def test_rows_and_deletions_keep_their_order(followed, changes, held):
    source, table, follower = followed
    for tail, count in changes:
        source.add(tail.encode(), None if count is None else row(tail, count))
    follower.poll()
    assert seats(table, "a") == [held]


def test_what_is_no_row_is_logged_and_passed_over(followed, caplog):
    source, table, follower = followed
    source.add(b"a", row("a", 1))
    source.add(b"a", b"garbage")
    source.add(b"b", row("b", 2))
    with caplog.at_level(logging.ERROR):
        follower.poll()
    assert seats(table, "a", "b") == [1, 2]
    assert table.version == 3
    assert "p.table-planes[0]@1 is not a row" in caplog.text


def test_a_long_table_loads_in_one_go(followed, monkeypatch):
    source, table, follower = followed
    for number, value in enumerate(CODEC.encode_rows([{"tail": str(n), "seats": n} for n in range(500)])):
        source.add(str(number).encode(), value)
    source.add(b"0", None)
    put, sizes = table.upsert, []
    monkeypatch.setattr(table, "upsert", lambda keys, rows: sizes.append(len(keys)) or put(keys, rows))
    follower.start()
    assert sizes == [500]
    assert seats(table, "0", "499") == [None, 499]
