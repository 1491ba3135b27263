import io
import json
from datetime import date
from decimal import Decimal

import fastavro
import pyarrow as pa
import pytest

from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import EncodeError
from tidemill.schemas.resolver import KnownSchemas

MICROS = {"type": "long", "logicalType": "timestamp-micros"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 6, "scale": 2}
ENUM = {"type": "enum", "name": "E", "symbols": ["EWR", "JFK"]}


def record(**fields):
    declared = [{"name": name, "type": avro} for name, avro in fields.items()]
    return Contract.parse({"type": "record", "name": "Tide", "fields": declared})


def encode(contract, table):
    return Codec(contract, KnownSchemas(), prefix=b"").encode(table)


@pytest.mark.parametrize(
    ("avro", "value", "datum"),
    [
        ("long", 0, "00"),
        ("long", -1, "01"),
        ("long", 63, "7e"),
        ("long", 64, "8001"),
        ("long", -65, "8101"),
        ("long", 2**63 - 1, "feffffffffffffffff01"),
        ("long", -(2**63), "ffffffffffffffffff01"),
        ("boolean", True, "01"),
        ("string", "foo", "06666f6f"),
        ("double", 1.5, "000000000000f83f"),
        (["null", "string"], None, "00"),
        (["null", "string"], "a", "020261"),
        (["string", "null"], None, "02"),
        (["string", "null"], "a", "000261"),
        ({"type": "array", "items": "long"}, [3, 27], "04063600"),
        ({"type": "array", "items": "long"}, [], "00"),
        ({"type": "map", "values": "long"}, [("a", 1)], "0202610200"),
        (ENUM, "JFK", "02"),
        (DECIMAL, Decimal("1.27"), "027f"),
        (DECIMAL, Decimal("1.28"), "040080"),
        (DECIMAL, Decimal("-1.28"), "0280"),
        ({**DECIMAL, "type": "fixed", "name": "D", "size": 4}, Decimal("-0.01"), "ffffffff"),
    ],
)
def test_a_value_is_written_as_the_specification_has_it(avro, value, datum):
    contract = record(a=avro)
    table = pa.Table.from_arrays([pa.array([value], contract.arrow.field("a").type)], schema=contract.arrow)
    assert encode(contract, table)[0].hex() == datum


def test_another_implementation_reads_what_is_written():
    contract = record(
        t=MICROS,
        e=ENUM,
        m={"type": "map", "values": ["null", "float"]},
        d=["null", {"type": "int", "logicalType": "date"}],
    )
    row = {"t": 5, "e": "EWR", "m": {"x": 0.5, "y": None}, "d": date(2013, 1, 1)}
    (datum,) = Codec(contract, KnownSchemas(), prefix=b"").encode_rows([row])
    read = fastavro.schemaless_reader(io.BytesIO(datum), contract.schema)
    assert read | {"t": 5} == row
    assert read["t"].microsecond == 5


def test_columns_are_found_by_name_and_cast_where_nothing_is_lost():
    contract = record(a="long", b="string", c="double", d=MICROS, e=["null", "bytes"])
    table = pa.table(
        {
            "e": pa.nulls(2),
            "d": pa.array([1, 2], pa.timestamp("ms", "Asia/Tokyo")),
            "c": pa.array([1, 2], pa.int16()),
            "b": pa.array(["x", "y"]).dictionary_encode(),
            "a": pa.array([1, 2], pa.uint8()),
        }
    )
    decoded = Codec(contract, KnownSchemas()).decode(Codec(contract, KnownSchemas()).encode(table))
    assert decoded.table.drop_columns("d").to_pylist() == [
        {"a": 1, "b": "x", "c": 1.0, "e": None},
        {"a": 2, "b": "y", "c": 2.0, "e": None},
    ]
    assert decoded.table["d"].cast(pa.int64()).to_pylist() == [1000, 2000]


def test_columns_may_come_in_chunks():
    contract = record(a="long")
    chunked = pa.chunked_array([pa.array([1]), pa.array([], pa.int64()), pa.array([2])])
    assert encode(contract, pa.table({"a": chunked})) == [b"\x02", b"\x04"]


@pytest.mark.parametrize(
    ("avro", "column", "said"),
    [
        ("long", pa.array([1, None, 2]), "row 1, field 'a': expected int64; got null"),
        ("int", pa.array([1, 2**40]), "row 1, field 'a': expected int32; got 1099511627776"),
        ("double", pa.array([2**53 + 1]), "row 0, field 'a': expected double; got 9007199254740993"),
        ("float", pa.array([0.1]), "field 'a': expected float; got a column of double; cast it where that is meant"),
        ("long", pa.array(["1"]), "got a column of string"),
        ("long", pa.array([1.0]), "got a column of double"),
        (MICROS, pa.array([1], pa.timestamp("us")), r"expected timestamp[us, tz=UTC]; got a column of timestamp[us]"),
        (MICROS, pa.array([1], pa.timestamp("ns", "UTC")), "row 0, field 'a': expected timestamp[us, tz=UTC]"),
        (
            ENUM,
            pa.array(["JFK", "JFC"]),
            "row 1, field 'a': expected string; got 'JFC': 'JFC' is no symbol; did you mean 'JFK'",
        ),
        (["null", "string"], pa.array([b"x"]), "expected string or null; got a column of binary"),
        ({"type": "array", "items": "int"}, pa.array([[1], [None]], pa.list_(pa.int32())), "row 1, field 'a'"),
        ({"type": "array", "items": "float"}, pa.array([[0.1]]), "got a column of list<item: double>"),
        ({"type": "fixed", "name": "F", "size": 2}, pa.array([b"ab", b"abc"]), "row 1, field 'a'"),
    ],
)
def test_what_does_not_fit_is_named(avro, column, said):
    with pytest.raises(EncodeError) as fault:
        encode(record(a=avro), pa.table({"a": column}))
    assert said in str(fault.value)
    assert str(fault.value).startswith("Tide")


def test_the_columns_are_those_of_the_contract():
    contract = record(distance="long", origin="string")
    with pytest.raises(EncodeError, match="Tide has no field 'distnace'; did you mean 'distance'"):
        encode(contract, pa.table({"distnace": [1], "origin": ["x"]}))
    with pytest.raises(EncodeError, match="expected one column 'origin'"):
        encode(contract, pa.table({"distance": [1]}))
    with pytest.raises(EncodeError, match="expected one column 'origin'"):
        encode(
            contract,
            pa.Table.from_arrays([pa.array([1]), pa.array(["a"]), pa.array(["b"])], ["distance", "origin", "origin"]),
        )


def test_no_rows_are_no_messages():
    contract = record(a="long")
    assert encode(contract, contract.arrow.empty_table()) == []


def test_the_prefix_stands_before_every_datum():
    contract = record(a="long")
    assert Codec(contract, KnownSchemas(), prefix=b"\x00abcd").encode(pa.table({"a": [1]})) == [b"\x00abcd\x02"]
    assert Codec(contract, KnownSchemas()).encode(pa.table({"a": [1]})) == [
        b"\xc3\x01" + contract.fingerprint + b"\x02"
    ]


def test_the_canonical_form_is_enough_to_read_a_datum():
    contract = record(d=DECIMAL, t=MICROS)
    (datum,) = Codec(contract, KnownSchemas(), prefix=b"").encode_rows([{"d": "1.28", "t": 7}])
    assert fastavro.schemaless_reader(io.BytesIO(datum), json.loads(contract.canonical)) == {"d": b"\x00\x80", "t": 7}


@pytest.mark.parametrize("size", [None, 16, 17, 40])
def test_decimals_of_every_length_are_read_back_by_fastavro(size):
    digits = {"logicalType": "decimal", "precision": 38, "scale": 0}
    kind = {"type": "bytes"} if size is None else {"type": "fixed", "name": "D", "size": size}
    contract = record(a=["null", {**kind, **digits}])
    powers = [2**bits + near for bits in range(0, 126, 7) for near in (-1, 0, 1)]
    values = [None, *[Decimal(sign * power) for power in powers for sign in (1, -1)], None, Decimal(0)]
    table = pa.Table.from_arrays([pa.array(values, pa.decimal128(38, 0))], schema=contract.arrow)
    schema = fastavro.parse_schema(contract.schema)
    for part, expected in ((table, values), (table.slice(5, 20), values[5:25])):
        for message, value in zip(encode(contract, part), expected, strict=True):
            assert fastavro.schemaless_reader(io.BytesIO(message), schema) == {"a": value}
            if value is not None:
                # The bit length with the sign's bit, in whole bytes; one byte, or two, says how many.
                shortest = (int(value) if value >= 0 else ~int(value)).bit_length() // 8 + 1
                assert len(message) == 1 + (1 + shortest if size is None else size)


def test_a_decimal_that_its_fixed_does_not_hold_is_named():
    contract = record(a={**DECIMAL, "type": "fixed", "name": "D", "size": 2})
    table = pa.Table.from_arrays([pa.array([Decimal("1.00"), Decimal("999.99")], pa.decimal128(6, 2))], ["a"])
    with pytest.raises(EncodeError, match=r"row 1, field 'a': .*999\.99"):
        encode(contract, table)


def test_a_slice_is_written_as_that_part_of_the_table():
    """The kernel reads Arrow's buffers where a slice begins in them, bit by bit for booleans and nulls."""
    kinds = {
        "flag": ["null", "boolean"],
        "count": ["null", "int"],
        "name": ["null", "string"],
        "code": ["null", ENUM],
        "price": ["null", DECIMAL],
        "hash": ["null", {"type": "fixed", "name": "H", "size": 3}],
        "exact": ["null", {**DECIMAL, "type": "fixed", "name": "D", "size": 2}],
        "ratio": ["float", "null"],
        "at": MICROS,
    }
    contract = record(**kinds)
    values = [
        (True, 7, "é", "JFK", Decimal("1.27"), b"abc", Decimal("-3.00"), 0.5, 11),
        (None, None, None, None, None, None, None, None, 12),
        (False, -70_000, "", "EWR", Decimal("-999.99"), b"xyz", Decimal("0.01"), -1.5, 13),
    ]
    rows = [dict(zip(kinds, values[i % 3], strict=True)) for i in range(40)]
    arrays = [pa.array([row[name] for row in rows], contract.arrow.field(name).type) for name in kinds]
    table = pa.Table.from_arrays(arrays, schema=contract.arrow)
    whole = encode(contract, table)
    for start, stop in ((0, 40), (1, 2), (9, 30), (17, 17), (39, 40)):
        assert encode(contract, table.slice(start, stop - start)) == whole[start:stop]
    assert encode(contract, pa.concat_tables([table.slice(3, 5), table.slice(20, 9)])) == whole[3:8] + whole[20:29]


def test_tables_of_several_schemas_are_each_written_as_they_are():
    contract = record(a="long", b="string")
    one, two = pa.table({"a": [1], "b": ["x"]}), pa.table({"b": ["x"], "a": pa.array([1], pa.int32())})
    assert encode(contract, one) == encode(contract, two)
    codec = Codec(contract, KnownSchemas(), prefix=b"")
    assert [codec.encode(table) for table in (one, two, one)] == [codec.encode(one)] * 3
    with pytest.raises(EncodeError, match="expected one column 'b'"):
        codec.encode(one.select(["a"]))
    assert codec.encode(one) == encode(contract, one)
