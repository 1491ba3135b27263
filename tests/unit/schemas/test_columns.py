import pyarrow as pa
import pytest

from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import SchemaError


def arrow_of(avro):
    contract = Contract.parse({"type": "record", "name": "R", "fields": [{"name": "a", "type": avro}]})
    return contract.arrow.field("a")


def logical(avro, kind, **more):
    return {"type": avro, "logicalType": kind, **more}


@pytest.mark.parametrize(
    ("avro", "arrow"),
    [
        ("boolean", pa.bool_()),
        ("int", pa.int32()),
        ("long", pa.int64()),
        ("float", pa.float32()),
        ("double", pa.float64()),
        ("bytes", pa.binary()),
        ("string", pa.string()),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, pa.string()),
        ({"type": "fixed", "name": "F", "size": 3}, pa.binary(3)),
        (logical("int", "date"), pa.date32()),
        (logical("int", "time-millis"), pa.time32("ms")),
        (logical("long", "time-micros"), pa.time64("us")),
        (logical("long", "timestamp-millis"), pa.timestamp("ms", "UTC")),
        (logical("long", "timestamp-micros"), pa.timestamp("us", "UTC")),
        (logical("long", "timestamp-nanos"), pa.timestamp("ns", "UTC")),
        (logical("long", "local-timestamp-millis"), pa.timestamp("ms")),
        (logical("long", "local-timestamp-micros"), pa.timestamp("us")),
        (logical("bytes", "decimal", precision=9, scale=2), pa.decimal128(9, 2)),
        (logical("fixed", "decimal", precision=9, name="D", size=8), pa.decimal128(9, 0)),
        (logical("string", "uuid"), pa.string()),
        (logical("long", "of-another-kind"), pa.int64()),
        (logical("int", "timestamp-micros"), pa.int32()),
        ({"type": "array", "items": ["null", "int"]}, pa.list_(pa.int32())),
        ({"type": "array", "items": "int"}, pa.list_(pa.field("item", pa.int32(), nullable=False))),
        ({"type": "map", "values": "long"}, pa.map_(pa.string(), pa.field("value", pa.int64(), nullable=False))),
        (
            {
                "type": "record",
                "name": "P",
                "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": ["int", "null"]}],
            },
            pa.struct([pa.field("x", pa.int32(), nullable=False), pa.field("y", pa.int32())]),
        ),
    ],
)
def test_every_type_has_its_column(avro, arrow):
    assert arrow_of(avro) == pa.field("a", arrow, nullable=False)
    assert arrow_of(["null", avro]) == arrow_of([avro, "null"]) == pa.field("a", arrow)


def test_null_is_a_column_of_nulls():
    assert arrow_of("null") == pa.field("a", pa.null())


@pytest.mark.parametrize(
    ("avro", "said"),
    [
        (["int", "string"], r"expected a union of null and one other type; got \[int, string\]"),
        (["null", "int", "string"], r"got \[null, int, string\]"),
        (["int"], r"got \[int\]"),
        ({"type": "map", "values": "null"}, "a map whose values are all null"),
        ({"type": "array", "items": ["int", "string"]}, "a union of null"),
        ({"type": "array", "items": "null"}, "take no bytes"),
        (
            {"type": "array", "items": {"type": "record", "name": "N", "fields": [{"name": "n", "type": "null"}]}},
            "no bytes",
        ),
        ({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}, "no bytes"),
        (logical("bytes", "decimal", precision=39), "a precision from 1 to 38; got 39"),
        (logical("bytes", "decimal", precision=4, scale=5), "a scale from 0 to its precision 4; got 5"),
        (logical("bytes", "decimal"), "a precision"),
        ({"type": "record", "name": "L", "fields": [{"name": "next", "type": ["null", "L"]}]}, "contains itself"),
    ],
)
def test_what_does_not_fit_into_columns_is_refused(avro, said):
    with pytest.raises(SchemaError, match=said):
        arrow_of(avro)
