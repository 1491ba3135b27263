import hashlib
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.training.ipc import from_bytes, plain_table, to_bytes

COLUMNS = {
    "yes": pa.array([True, None, False, True, None] * 3),
    "whole": pa.array([1, None, -3, 2**62, 0] * 3),
    "small": pa.array([1, None, 3, 4, 5] * 3, pa.int32()),
    "number": pa.array([1.5, None, float("nan"), -0.0, 1e300] * 3),
    "name": pa.array(["a", None, "", "München", "b"] * 3),
    "raw": pa.array([b"\0", None, b"", b"xy", b"z"] * 3),
    "at": pa.array([datetime(2024, 1, 1, tzinfo=UTC), None] * 7 + [None], pa.timestamp("us", "UTC")),
    "day": pa.array([date(2024, 1, 1), None, None] * 5),
    "sum": pa.array([Decimal("1.25"), None, Decimal("-3.50")] * 5, pa.decimal128(9, 2)),
    "many": pa.array([[1, 2], None, [], [None], [3]] * 3),
    "both": pa.array([{"x": 1, "y": None}, None, {"x": None, "y": "b"}] * 5),
    "none": pa.nulls(15, pa.float64()),
    "full": pa.array(range(15)),
}
TABLE = pa.table(COLUMNS)


def cut(table, size):
    return pa.concat_tables([table.slice(at, size) for at in range(0, table.num_rows, size)])


@pytest.mark.parametrize("size", [1, 2, 7, 15])
def test_how_a_table_was_cut_does_not_show(size):
    assert to_bytes(cut(TABLE, size)) == to_bytes(TABLE)


def test_nor_does_what_stands_around_it_or_below_its_nulls():
    wide = pa.concat_tables([TABLE.slice(3, 4), TABLE, TABLE.slice(1, 9)])
    assert to_bytes(wide.slice(4, 15)) == to_bytes(TABLE)
    hidden = pa.array(np.array([7, 8], np.int64), mask=np.array([False, True]))
    assert to_bytes(pa.table({"a": hidden})) == to_bytes(pa.table({"a": pa.array([7, None])}))
    bitmap = pa.Array.from_buffers(pa.int64(), 2, [pa.py_buffer(b"\xff"), *pa.array([7, 8]).buffers()[1:]])
    assert to_bytes(pa.table({"a": bitmap})) == to_bytes(pa.table({"a": [7, 8]}))


def test_nor_does_the_kind_of_text():
    table = pa.table({"a": ["x", None, "y"]})
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        assert to_bytes(table.cast(pa.schema([("a", kind)]))) == to_bytes(table)


def test_the_values_come_back():
    back = from_bytes(to_bytes(TABLE))
    assert back.drop_columns("number").equals(TABLE.drop_columns("number"))
    assert repr(back["number"].to_pylist()) == repr(TABLE["number"].to_pylist())
    assert plain_table(TABLE.slice(0, 0)).num_rows == from_bytes(to_bytes(TABLE.slice(0, 0))).num_rows == 0


def test_different_values_are_different_bytes():
    found = {to_bytes(TABLE.slice(n, 5)) for n in range(5)}
    assert len(found) == 5


def test_the_bytes_are_those_of_yesterday():
    """If another version of Arrow writes other bytes, data sets that were made before cannot be checked any more."""
    table = pa.table({"a": pa.array([1.5, None]), "b": pa.array(["x", None])})
    assert (
        hashlib.sha256(to_bytes(table)).hexdigest()
        == "1b863405d6559069e88dda07afa5d5974c49a3a02d5f1226c6500895caabafac"
    )
