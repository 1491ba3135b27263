"""Rows that wait against a dict: every value comes back bit for bit, however wide the values beside it are."""

import struct

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.processors.outcomes.cells import CellRows

COLUMNS = pa.schema([(f"whole{n}", pa.int64()) for n in range(8)])
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("short", pa.int32()),
        pa.field("at", pa.timestamp("us", "UTC")),
        pa.field("day", pa.date32()),
        pa.field("yes", pa.bool_()),
        pa.field("number", pa.float64()),
        pa.field("single", pa.float32()),
        pa.field("word", pa.string()),
        # Nulls of more columns than a byte has bits.
        pa.field("last", pa.int64()),
    ]
)


def whole(bits):
    edges = [sign * (1 << n) - less for n in (7, 15, 31, 63) if n < bits for sign in (1, -1) for less in (0, 1)]
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    return st.none() | st.sampled_from([n for n in edges if low <= n <= high]) | st.integers(-200, 200)


rows = st.tuples(
    whole(64),
    whole(32),
    whole(64),
    st.none() | st.integers(-100_000, 100_000),
    st.none() | st.booleans(),
    st.none() | st.floats(),
    st.none() | st.floats(width=32),
    st.none() | st.sampled_from(["", "UA", "München"]),
    whole(64),
)
# On both sides of the borders between pieces, and some far away.
slots = st.integers(0, 5) | st.integers(65_530, 65_540) | st.sampled_from([131_072, 400_000])
steps = st.lists(st.tuples(st.dictionaries(slots, rows, max_size=6), st.sets(slots, max_size=4)), max_size=8)


def table(given_rows):
    columns = zip(*given_rows, strict=True)
    return pa.table([_column(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def _column(values, kind):
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.int64()).cast(kind)
    return pa.array(values, pa.int32()).cast(kind) if pa.types.is_date32(kind) else pa.array(values, kind)


def bits(found):
    """The rows with times as numbers and floats as their bytes: NaN is not NaN, and -0 is 0."""
    out = []
    for column in found.columns:
        kind = column.type
        if pa.types.is_timestamp(kind) or pa.types.is_date32(kind):
            column = column.cast(pa.int32() if pa.types.is_date32(kind) else pa.int64())
        values = column.to_pylist()
        if pa.types.is_floating(kind):
            values = [None if value is None else struct.pack("d", value) for value in values]
        out.append(values)
    return list(zip(*out, strict=True))


@settings(deadline=None, max_examples=100)
@given(steps)
def test_what_was_put_comes_back_bit_for_bit(given_steps):
    store, oracle = CellRows(SCHEMA), {}
    for put, cleared in given_steps:
        gone = sorted(set(oracle) & (cleared | set(put)))
        store.clear(np.array(gone, np.int64))
        oracle = {slot: row for slot, row in oracle.items() if slot not in gone} | put
        if put:
            store.put(np.array(list(put), np.int64), table(put.values()))
        if oracle:
            order = sorted(oracle, key=lambda slot: (slot * 7_919 % 31, slot))
            expected = table([oracle[slot] for slot in order])
            assert bits(store.take(np.array(order, np.int64))) == bits(expected)
            ids = [oracle[slot][0] or 0 for slot in order]
            assert store.number(np.array(order, np.int64), "id").tolist() == ids


def test_small_numbers_take_a_byte_and_a_large_one_widens_its_column_alone():
    store = CellRows(COLUMNS)
    one = {name: [1] for name in COLUMNS.names}
    store.put(np.array([0]), pa.table(one))
    assert store.nbytes == 65_536 * (8 + 1)
    store.put(np.array([1]), pa.table(one | {"whole3": [1 << 40]}))
    assert store.nbytes == 65_536 * (8 + 7 + 1)
    assert store.take(np.array([0, 1]))["whole3"].to_pylist() == [1, 1 << 40]
