from collections import OrderedDict
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pytest

from tidemill.schemas.codec.rows import to_columns
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import EncodeError

TOKYO = timezone(timedelta(hours=9))
ENUM = {"type": "enum", "name": "E", "symbols": ["EWR", "JFK"]}
POINT = {
    "type": "record",
    "name": "P",
    "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": "int", "default": 7}],
}
MOMENT = datetime(2013, 1, 1, 12, 30, 15, 250_999, UTC)
MICROS = 1_357_043_415_250_999


def logical(avro, kind, **more):
    return {"type": avro, "logicalType": kind, **more}


def record(*fields):
    return Contract.parse({"type": "record", "name": "Tide", "fields": list(fields)})


def stored(avro, value):
    column = to_columns(record({"name": "a", "type": avro}), [{"a": value}])["a"]
    integers = pa.types.is_temporal(column.type)
    return (
        column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64())[0].as_py()
        if integers
        else column[0].as_py()
    )


DECIMAL = logical("bytes", "decimal", precision=5, scale=2)


@pytest.mark.parametrize(
    ("avro", "value", "expected"),
    [
        ("int", np.int64(3), 3),
        ("double", 3, 3.0),
        ("double", np.float32(0.5), 0.5),
        ("float", 0.1, float(np.float32(0.1))),
        ("bytes", bytearray(b"x"), b"x"),
        (ENUM, "JFK", "JFK"),
        (["null", "int"], None, None),
        (DECIMAL, Decimal("1.5"), Decimal("1.50")),
        (DECIMAL, "-999.99", Decimal("-999.99")),
        (DECIMAL, 3, Decimal("3.00")),
        (logical("int", "date"), date(1970, 1, 3), 2),
        (logical("int", "date"), "1969-12-31", -1),
        (logical("int", "date"), 5, 5),
        (logical("int", "time-millis"), time(0, 0, 1, 999), 1000),
        (logical("long", "time-micros"), "00:00:01.000002", 1_000_002),
        (logical("long", "timestamp-micros"), MOMENT, MICROS),
        (logical("long", "timestamp-micros"), MOMENT.astimezone(TOKYO), MICROS),
        (logical("long", "timestamp-micros"), "2013-01-01T12:30:15.250999Z", MICROS),
        (logical("long", "timestamp-micros"), "2013-01-01T21:30:15.250999+09:00", MICROS),
        (logical("long", "timestamp-micros"), MICROS, MICROS),
        (logical("long", "timestamp-millis"), MOMENT, MICROS // 1000),
        (logical("long", "timestamp-millis"), datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC), -1),
        (logical("long", "timestamp-nanos"), MOMENT, MICROS * 1000),
        (logical("long", "local-timestamp-millis"), MOMENT.replace(tzinfo=None), MICROS // 1000),
        (logical("long", "local-timestamp-millis"), "1970-01-01T00:00:01", 1000),
        ({"type": "array", "items": ["null", "int"]}, (1, None), [1, None]),
        ({"type": "map", "values": "int"}, OrderedDict(k=1), [("k", 1)]),
        (POINT, MappingProxyType({"x": 1}), {"x": 1, "y": 7}),
        (logical("string", "uuid"), "123E4567-e89b-12d3-a456-426614174000", "123E4567-e89b-12d3-a456-426614174000"),
    ],
)
def test_a_value_is_stored(avro, value, expected):
    assert stored(avro, value) == expected


@pytest.mark.parametrize(
    ("avro", "value", "said"),
    [
        ("int", 2**31, "expected an integer from -2147483648 to 2147483647; got 2147483648 (int)"),
        ("int", True, "expected an integer of 32 bits; got True (bool)"),
        ("int", 1.0, "got 1.0 (float)"),
        ("int", None, "got None (NoneType)"),
        ("long", -(2**63) - 1, "expected an integer from"),
        ("boolean", 1, "expected a boolean"),
        ("double", "1", "expected a number; got '1' (str)"),
        ("double", 2**53 + 1, "that a double holds exactly"),
        ("double", 10**400, "that a double holds"),
        ("float", 1e39, "within the range of a float"),
        ("string", b"x", "expected text; got b'x' (bytes)"),
        ("string", "\ud800", "without lone surrogates"),
        ("bytes", "x", "expected bytes"),
        ({"type": "fixed", "name": "F", "size": 2}, b"abc", "expected 2 bytes"),
        ("null", 0, "expected null"),
        (ENUM, "JFC", "expected one of the symbols; did you mean 'JFK'?"),
        (ENUM, ["JFK"], "expected one of the symbols"),
        (DECIMAL, 0.5, "as Decimal, int or text"),
        (DECIMAL, "1.005", "a decimal of 5 digits, 2 of them after the point"),
        (DECIMAL, "1000", "a decimal of 5 digits"),
        (DECIMAL, "1e400", "a decimal of 5 digits"),
        (DECIMAL, "NaN", "a decimal of 5 digits"),
        (DECIMAL, "x", "a decimal of 5 digits"),
        (logical("int", "date"), MOMENT, "expected a date, ISO 8601 text, or days"),
        (logical("int", "date"), "01/02/2013", "expected a date such as"),
        (logical("int", "time-millis"), 86_400_000, "expected an integer from 0 to 86399999"),
        (logical("int", "time-millis"), time(1, tzinfo=UTC), "without a zone"),
        (logical("long", "timestamp-millis"), MOMENT.replace(tzinfo=None), "expected a datetime with a zone"),
        (logical("long", "timestamp-millis"), "2013-01-01T00:00:00", "expected a datetime with a zone"),
        (logical("long", "timestamp-millis"), "yesterday", "a time with a zone such as 2013-01-31T17:30:00Z"),
        (logical("long", "timestamp-millis"), 1.5, "expected a datetime with a zone"),
        (logical("long", "local-timestamp-millis"), MOMENT, "expected a datetime without a zone"),
        (logical("string", "uuid"), "x", "expected a UUID"),
        ({"type": "array", "items": "int"}, "12", "expected a list"),
        ({"type": "array", "items": "int"}, [1, "2"], "expected in item 1: an integer of 32 bits"),
        ({"type": "map", "values": "int"}, {1: 1}, "expected a mapping from text"),
        ({"type": "map", "values": "int"}, {"k": None}, "in key 'k': an integer"),
        (POINT, {"x": 1, "z": 2}, "expected no 'z' in it"),
        (POINT, {"y": 1}, "a value of 'x', which has no default"),
        (POINT, 3, "a mapping with the fields of P"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(avro, value, said):
    with pytest.raises(EncodeError) as fault:
        stored(avro, value)
    assert str(fault.value).startswith("Tide, row 0, field 'a': expected ")
    assert said in str(fault.value)


def test_what_is_left_out_gets_its_default_or_null():
    contract = record(
        {"name": "a", "type": "int", "default": 4},
        {"name": "b", "type": ["null", "int"]},
        {"name": "c", "type": ["int", "null"], "default": 9},
    )
    assert to_columns(contract, [{}, {"c": None}]).to_pylist() == [
        {"a": 4, "b": None, "c": 9},
        {"a": 4, "b": None, "c": None},
    ]
    assert to_columns(contract, []).schema == contract.arrow


def test_what_is_missing_or_unknown_is_named_with_its_row():
    contract = record({"name": "distance", "type": "int"})
    with pytest.raises(EncodeError, match=r"row 1, field 'distance': expected a value of .*; it is missing"):
        to_columns(contract, [{"distance": 1}, {}])
    with pytest.raises(EncodeError, match="row 1: there is no field 'distnace'; did you mean 'distance'"):
        to_columns(contract, [{"distance": 1}, {"distnace": 1}])


def test_a_huge_value_is_shown_in_short():
    with pytest.raises(EncodeError) as fault:
        to_columns(record({"name": "a", "type": "int"}), [{"a": "x" * 1_000_000}])
    assert len(str(fault.value)) < 300
