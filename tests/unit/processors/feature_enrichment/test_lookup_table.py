from datetime import UTC, date, datetime

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemill.processors.feature_enrichment import ReferenceTable
from tidemill.schemas.errors import DeclarationError


def plane(**columns):
    return pa.Table.from_pylist([{"tail_number": None, "seats": None, "engine": None, **columns}])


def seats(table, *tails):
    return table.join(pl.DataFrame({"t": tails}, schema={"t": pl.String}))["seats"].to_list()


def test_joins_in_the_order_of_the_events_with_nulls_where_nothing_matches(weather):
    events = pl.DataFrame(
        {"o": ["JFK", "EWR", "EWR", None, "LGA", "JFK", "EWR"], "h": [0, 1, 0, 0, 0, None, 0]},
        schema={"o": pl.String, "h": pl.Int32},
    )
    found = weather.join(events)
    assert found.columns == ["wind", "sky"]
    assert found["wind"].to_list() == [3.0, None, 10.5, None, None, None, 10.5]
    assert found["sky"].to_list() == ["fog", "rain", "clear", None, None, None, "clear"]


def test_an_empty_table_and_an_empty_batch_join(planes, weather):
    assert seats(planes, "N1", None) == [None, None]
    assert seats(planes) == []
    assert weather.join(pl.DataFrame(schema={"o": pl.String, "h": pl.Int64})).height == 0


def test_keys_are_compared_by_what_they_mean():
    moment = datetime(2013, 1, 1, 5, tzinfo=UTC)
    rows = pa.table(
        {
            "time": pa.array([moment], pa.timestamp("ns", "UTC")),
            "day": pa.array([date(2013, 1, 1)]),
            "code": pa.array(["UA"]).dictionary_encode(),
            "flag": [True],
            "small": pa.array([7], pa.int8()),
            "value": [1.5],
        }
    )
    table = ReferenceTable("t", rows.schema, ["time", "day", "code", "flag", "small"])
    table.replace(rows)
    events = pl.DataFrame({"a": [moment], "b": [date(2013, 1, 1)], "c": ["UA"], "d": [True], "e": [7]})
    assert table.join(events)["value"].to_list() == [1.5]
    assert table.join(events.with_columns(pl.col("a").dt.cast_time_unit("ms")))["value"].to_list() == [1.5]


def test_a_file_with_a_key_twice_is_refused_with_the_first(weather):
    rows = pa.table({"place": ["A", "B", "A", "B"], "hour": [1, 2, 1, 2], "wind": [0.0] * 4, "sky": ["x"] * 4})
    with pytest.raises(DeclarationError, match="'weather': rows 1 and 3 have the same key, place=A, hour=1; expected"):
        weather.replace(rows)
    assert len(weather) == 3


def test_a_key_that_does_not_fit_the_rows_is_refused():
    schema = pa.schema([("faa", pa.string()), ("altitude", pa.float64())])
    with pytest.raises(DeclarationError, match="key column 'fa' does not exist; did you mean 'faa'"):
        ReferenceTable("airports", schema, ["fa"])
    with pytest.raises(DeclarationError, match="key column 'altitude' has the type double; expected whole numbers"):
        ReferenceTable("airports", schema, ["altitude"])


def test_a_topic_replaces_and_deletes_by_record_key(planes):
    planes.upsert(["N1", "N2"], pa.concat_tables([plane(tail_number="N1", seats=2), plane(tail_number="N2", seats=4)]))
    assert seats(planes, "N2", "N1") == [4, 2]
    planes.upsert(["N1", "N1"], pa.concat_tables([plane(tail_number="N1", seats=6), plane(tail_number="N1", seats=8)]))
    assert seats(planes, "N2", "N1") == [4, 8]
    planes.delete(["N1", "N9"])
    assert seats(planes, "N2", "N1") == [4, None]
    assert len(planes) == 1


def test_a_record_whose_key_column_changes_is_found_only_under_the_new_one(planes):
    planes.upsert([b"r"], plane(tail_number="N1", seats=2))
    planes.upsert([b"r"], plane(tail_number="N5", seats=3))
    assert seats(planes, "N1", "N5") == [None, 3]
    planes.upsert([b"r"], plane(seats=3))
    assert seats(planes, "N5", None) == [None, None]


def test_of_two_records_with_the_same_key_the_later_one_is_found(planes):
    planes.upsert(
        ["old", "new"], pa.concat_tables([plane(tail_number="N1", seats=1), plane(tail_number="N1", seats=2)])
    )
    planes.upsert(["old"], plane(tail_number="N7", seats=3))
    assert seats(planes, "N1", "N7") == [2, 3]
    planes.upsert(["old"], plane(tail_number="N1", seats=4))
    planes.delete(["new"])
    assert seats(planes, "N1", "N7") == [4, None]
    planes.upsert(["new"], plane(tail_number="N1", seats=5))
    planes.delete(["new"])
    assert seats(planes, "N1") == [None]
    planes.delete(["old"])
    assert len(planes) == 0


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.none() | st.integers(0, 9)), max_size=60), st.integers(1, 9))
def test_a_topic_ends_as_its_latest_records_however_it_is_cut(records, size):
    schema = pa.schema([("tail_number", pa.string()), ("seats", pa.int32())])
    table = ReferenceTable("planes", schema, ["tail_number"], version=0)
    for start in range(0, len(records), size):
        for key, value in records[start : start + size]:
            if value is None:
                table.delete([key])
            else:
                table.upsert([key], pa.table({"tail_number": [key], "seats": pa.array([value], pa.int32())}))
    latest = dict(records)
    assert seats(table, *"abcdef") == [latest.get(key) for key in "abcdef"]


def test_overwritten_rows_do_not_pile_up(planes):
    tails = [f"N{i}" for i in range(200)]
    for version in range(50):
        rows = pa.table({"tail_number": tails, "seats": pa.array([version] * 200, pa.int32()), "engine": tails})
        planes.upsert(tails, rows)
    assert planes._rows.height <= 1_400
    assert seats(planes, "N0", "N199") == [49, 49]
    planes.delete(tails[1:])
    assert (len(planes), seats(planes, "N0", "N1")) == (1, [49, None])
