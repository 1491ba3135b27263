import tracemalloc
import uuid

import numpy as np
import pyarrow as pa
import pytest

from tidemill.schemas.codec import BadMessage, Codec, Reason
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import SchemaError
from tidemill.schemas.framing import VALUE_SCHEMA_ID, Confluent, SingleObject
from tidemill.schemas.resolver import KnownSchemas


def record(*fields, name="sea.Tide"):
    declared = [{"name": f[0], "type": f[1], **(f[2] if len(f) > 2 else {})} for f in fields]
    return Contract.writer({"type": "record", "name": name, "fields": declared})


TEXT = record(("text", "string"))


def framed(datum, contract=TEXT):
    return SingleObject(contract.fingerprint).prefix + datum


def decode(contract, *data, known=()):
    return Codec(contract, KnownSchemas(known)).decode([framed(d, contract) for d in data])


def verdict(contract, datum):
    decoded = decode(contract, datum)
    assert decoded.table.num_rows == 0
    (bad,) = decoded.bad
    return bad.reason, bad.message


class Registry:
    """A schema registry's answers."""

    def __init__(self, contract):
        self.contract = contract
        self.asked = []

    def by_fingerprint(self, fingerprint):
        self.asked.append(fingerprint)

    def by_id(self, schema_id):
        self.asked.append(schema_id)
        return self.contract if schema_id == 7 else None

    def by_guid(self, guid):
        self.asked.append(guid)
        return self.contract if guid == bytes(16) else None


def test_a_batch_is_sorted_into_rows_and_verdicts():
    codec = Codec(TEXT, KnownSchemas())
    good = codec.encode_rows([{"text": "a"}, {"text": "b"}])
    decoded = codec.decode([good[0], None, b"", b'{"text": "a"}', framed(b"\x08ab"), good[1]])
    assert decoded.table.equals(pa.table({"text": ["a", "b"]}).cast(TEXT.arrow))
    assert decoded.rows.dtype == np.int64
    assert decoded.rows.tolist() == [0, 5]
    assert [(b.row, b.reason) for b in decoded.bad] == [
        (1, Reason.EMPTY_VALUE),
        (2, Reason.EMPTY_VALUE),
        (3, Reason.UNKNOWN_FRAMING),
        (4, Reason.UNDECODABLE),
    ]
    assert isinstance(decoded.bad[0], BadMessage)


def test_an_empty_batch_has_the_columns():
    decoded = Codec(TEXT, KnownSchemas()).decode([])
    assert decoded.table.schema == TEXT.arrow
    assert len(decoded.rows) == len(decoded.bad) == 0


def test_a_message_of_a_null_has_no_bytes():
    nothing = record(("a", "null"))
    codec = Codec(nothing, KnownSchemas())
    assert codec.encode_rows([{}, {"a": None}]) == [framed(b"", nothing)] * 2
    assert codec.decode([framed(b"", nothing)] * 2).rows.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("value", "headers", "said"),
    [
        (b'{"a": 1}', None, "begin with 7b 22 61 22 3a 20 31 7d; this looks like JSON"),
        (b"\xff", [("trace", b"1")], "got 1 bytes that begin with ff"),
        (b"\x00", [(VALUE_SCHEMA_ID, b"\x05\x06")], "__value_schema_id holds neither an id nor a GUID: 05 06"),
    ],
)
def test_an_unknown_framing_shows_what_came(value, headers, said):
    (bad,) = Codec(TEXT, KnownSchemas()).decode([value], [headers]).bad
    assert bad.reason == Reason.UNKNOWN_FRAMING
    assert said in bad.message


def test_an_unknown_schema_is_named():
    (bad,) = Codec(TEXT, KnownSchemas()).decode([SingleObject(bytes(range(8))).prefix + b"\x02a"]).bad
    assert bad.reason == Reason.UNKNOWN_SCHEMA
    assert "fingerprint 0001020304050607" in bad.message
    (bad,) = Codec(TEXT, KnownSchemas()).decode([Confluent(9).prefix + b"\x02a"]).bad
    assert (bad.reason, "the id 9" in bad.message) == (Reason.UNKNOWN_SCHEMA, True)


def test_every_framing_of_a_registry_is_read():
    registry = Registry(TEXT)
    codec = Codec(TEXT, registry, Confluent(7).prefix)
    assert codec.encode_rows([{"text": "a"}]) == [b"\x00\x00\x00\x00\x07\x02a"]
    values = [b"\x00\x00\x00\x00\x07\x02a", b"\x02b", b"\x02c", framed(b"\x02d"), b"\x00\x00\x00\x00\x08\x02e"] * 2
    in_headers = [
        None,
        [(VALUE_SCHEMA_ID, b"\x01" + bytes(16))],
        [(VALUE_SCHEMA_ID, b"\x00\x00\x00\x00\x07")],
        None,
        [],
    ] * 2
    decoded = codec.decode(values, in_headers)
    assert decoded.table["text"].to_pylist() == ["a", "b", "c", "d"] * 2
    assert [b.row for b in decoded.bad] == [4, 9]
    assert registry.asked == [7, bytes(16), 7, 8], "once per name and batch; the reader's own is not asked for"


def test_a_schema_that_is_published_later_is_found_then():
    known = KnownSchemas()
    other = record(("text", "string"), ("more", "int"))
    codec = Codec(TEXT, known)
    message = framed(b"\x02a\x02", other)
    assert codec.decode([message]).bad[0].reason == Reason.UNKNOWN_SCHEMA
    known.add(other)
    assert codec.decode([message]).table["text"].to_pylist() == ["a"]


def test_headers_of_other_things_change_nothing():
    """Messages with and without headers keep their order, whatever the headers are called."""
    codec = Codec(record(("height", "double")), KnownSchemas())
    values = codec.encode_rows([{"height": float(number)} for number in range(6)])
    values[4] = values[4][:-1]
    headers = [None, [("trace", b"1")], None, [("trace", None), ("b", b"2")], [("trace", b"3")], []]
    decoded = codec.decode(values, headers)
    assert decoded.rows.tolist() == [0, 1, 2, 3, 5]
    assert decoded.table["height"].to_pylist() == [0.0, 1.0, 2.0, 3.0, 5.0]
    assert [bad.row for bad in decoded.bad] == [4]
    named = [*headers[:2], [("trace", b"1"), (VALUE_SCHEMA_ID, b"\x09")], *headers[3:]]
    assert [(bad.row, bad.reason) for bad in codec.decode(values, named).bad] == [
        (2, Reason.UNKNOWN_FRAMING),
        (4, Reason.UNDECODABLE),
    ]


def test_a_source_that_fails_is_not_the_messages_fault():
    class Broken(KnownSchemas):
        def by_id(self, schema_id):
            raise ConnectionError("registry is down")

    with pytest.raises(ConnectionError):
        Codec(TEXT, Broken()).decode([Confluent(1).prefix])


def test_a_source_with_a_malformed_schema_refuses_its_messages():
    class Odd(KnownSchemas):
        def by_id(self, schema_id):
            raise SchemaError("not an Avro schema")

    (bad,) = Codec(TEXT, Odd()).decode([Confluent(1).prefix]).bad
    assert (bad.reason, bad.message) == (
        Reason.INCOMPATIBLE_SCHEMA,
        "id 1 cannot be read as sea.Tide: not an Avro schema",
    )


HUGE = b"\xfe\xff\xff\xff\xff\xff\xff\xff\x7f"  # 2^62 - 1
NEGATIVE = b"\x01"
INT_40 = b"\x80\x80\x80\x80\x80\x40"
TOO_LONG = b"\x80" * 10 + b"\x00"
TOO_WIDE = b"\xff" * 9 + b"\x02"
ENUM = {"type": "enum", "name": "E", "symbols": ["A", "B"]}
FIXED = {"type": "fixed", "name": "F", "size": 4}
TIME = {"type": "int", "logicalType": "time-millis"}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 3, "scale": 1}
INTS = {"type": "array", "items": "int"}
MAP = {"type": "map", "values": "int"}


@pytest.mark.parametrize(
    ("avro", "datum", "reason", "said"),
    [
        ("string", b"", "undecodable", "field 'a' at byte 10: the message ends within it, after 10 bytes"),
        ("string", b"\x04a", "undecodable", "a length of 2, where 1 bytes are left"),
        ("string", HUGE + b"a", "undecodable", "a length of 4611686018427387903"),
        ("string", NEGATIVE, "undecodable", "a length of -1"),
        ("string", b"\x04\xff\xfe", "invalid_utf8", "not UTF-8: invalid start byte at its byte 0"),
        ("string", b"\x06\xed\xa0\x80", "invalid_utf8", "not UTF-8"),
        ("string", b"\x02ab", "surplus_bytes", "ends at byte 12, but the message has 13"),
        ("bytes", HUGE, "undecodable", "a length of"),
        ("boolean", b"\x02", "undecodable", "a boolean is 0 or 1; got 2"),
        ("boolean", b"", "undecodable", "ends within"),
        ("int", INT_40, "undecodable", "an int has 32 bits; got 1099511627776"),
        ("int", b"\x80", "undecodable", "ends within"),
        ("long", TOO_LONG, "undecodable", "more than ten bytes"),
        ("long", b"\x80" * 1_000_000, "undecodable", "more than ten bytes"),
        ("long", TOO_WIDE, "undecodable", "more than 64 bits"),
        ("float", b"\x00\x00\x00", "undecodable", "ends within"),
        ("double", b"\x00" * 7, "undecodable", "ends within"),
        ("double", b"\x00" * 9, "surplus_bytes", "ends at byte 18"),
        (FIXED, b"abc", "undecodable", "4 bytes wanted, where 3 are left"),
        (ENUM, b"\x04", "undecodable", "symbol number 2 of 2"),
        (ENUM, NEGATIVE, "undecodable", "symbol number -1 of 2"),
        (["null", "int"], b"\x04", "undecodable", "branch number 2 of 2"),
        (["null", "int"], NEGATIVE, "undecodable", "branch number -1 of 2"),
        (["null", "int"], b"\x02", "undecodable", "ends within"),
        (TIME, b"\x80\xf0\xb2\x52", "undecodable", "a time-millis is from 0 to 86399999; got 86400000"),
        (TIME, NEGATIVE, "undecodable", "got -1"),
        (DECIMAL, b"\x04\x03\xe8", "undecodable", "a decimal of 3 digits"),
        (DECIMAL, b"\x00", "undecodable", "a decimal of 3 digits"),
        (INTS, HUGE, "undecodable", "a block of 4611686018427387903 items, where 0 bytes are left"),
        (INTS, b"\x04\x02", "undecodable", "a block of 2 items, where 1 bytes"),
        (INTS, b"\x02\x02", "undecodable", "ends within"),
        (INTS, b"\x01\x04\x02\x00", "undecodable", "size in bytes is not the one"),
        (MAP, HUGE, "undecodable", "a block of"),
        (MAP, b"\x02\x02\xff\x02\x00", "invalid_utf8", "not UTF-8"),
        ({"type": "array", "items": INTS}, b"\x02" + HUGE, "undecodable", "a block of"),
    ],
)
def test_a_datum_that_is_none_is_refused_with_its_place(avro, datum, reason, said):
    found, message = verdict(record(("a", avro)), datum)
    assert (found, said in message) == (reason, True), message


@pytest.mark.parametrize("avro", ["string", "bytes", INTS, MAP])
def test_an_absurd_length_takes_no_memory(avro):
    codec = Codec(record(("a", avro)), KnownSchemas())
    message = framed(HUGE + b"\x02" * 100, record(("a", avro)))
    codec.decode([message])
    tracemalloc.start()
    assert codec.decode([message]).bad[0].reason == Reason.UNDECODABLE
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000


def test_a_decimal_of_a_megabyte_is_refused_quickly():
    reason, _ = verdict(record(("a", DECIMAL)), b"\x80\x80\x80\x01" + b"\x7f" * (1 << 20))
    assert reason == Reason.UNDECODABLE


@pytest.mark.parametrize(
    ("avro", "datum", "stored"),
    [
        ("int", b"\x80\x00", 0),
        ("long", b"\xff" * 9 + b"\x01", -(2**63)),
        (["null", "int"], b"\x80\x00", None),
        (["int", "null"], b"\x82\x00", None),
        (["int", "null"], b"\x00\x06", 3),
        (INTS, b"\x02\x02\x01\x02\x04\x00", [1, 2]),
        (DECIMAL, b"\x06\x00\x00\x01", "0.1"),
        ("double", b"\x00\x00\x00\x00\x00\x00\xf0\x7f", float("inf")),
    ],
)
def test_other_spellings_of_a_value_are_read(avro, datum, stored):
    decoded = decode(record(("a", avro)), datum)
    assert not decoded.bad
    found = decoded.table["a"].to_pylist()[0]
    assert (str(found) if isinstance(stored, str) else found) == stored


def test_times_beyond_what_python_can_say_are_passed_on():
    micros = {"type": "long", "logicalType": "timestamp-micros"}
    decoded = decode(record(("a", micros)), b"\xff" * 9 + b"\x01", b"\x02")
    assert decoded.table["a"].cast(pa.int64()).to_pylist() == [-(2**63), 1]
    assert decoded.table.schema.field("a").type == pa.timestamp("us", "UTC")


def test_nan_is_passed_on_bit_for_bit():
    codec = Codec(record(("a", "double")), KnownSchemas())
    message = framed(bytes.fromhex("010203040506f8ff"), record(("a", "double")))
    decoded = codec.decode([message])
    assert np.isnan(decoded.table["a"][0].as_py())
    assert codec.encode(decoded.table) == [message]


def test_a_message_cannot_take_its_neighbours_event():
    """The attack on decoders that join messages into one block: lengths that only add up over all three."""
    pair = record(("text", "string"), ("n", "int"))
    codec = Codec(pair, KnownSchemas())
    innocent = codec.encode_rows([{"text": "innocent", "n": 2}])[0]
    reach = len(innocent) + len(framed(b"", pair)) + 2
    swallows = framed(bytes([2 * reach]) + b"ab", pair)
    restores = framed(b"\x04cd\x02" + b"\x02e\x04" + b"\x02f\x06", pair)
    decoded = codec.decode([swallows, innocent, restores, innocent])
    assert decoded.table.to_pylist() == [{"text": "innocent", "n": 2}] * 2
    assert decoded.rows.tolist() == [1, 3]
    assert [(b.row, b.reason) for b in decoded.bad] == [(0, Reason.UNDECODABLE), (2, Reason.SURPLUS_BYTES)]


def test_encoding_twice_gives_the_same_bytes():
    contract = record(("a", MAP), ("b", ["null", "string"]), ("c", "double"))
    codec = Codec(contract, KnownSchemas())
    rows = [{"a": {"y": 1, "x": 2}, "b": None, "c": -0.0}] * 2
    first, second = codec.encode_rows(rows)
    assert first == second == codec.encode(codec.decode([first]).table)[0]


def test_a_contract_that_does_not_fit_into_columns_has_no_codec():
    with pytest.raises(SchemaError, match="a column holds one type"):
        Codec(record(("a", ["int", "string"])), KnownSchemas())


def test_uuids_travel_as_text():
    contract = record(("id", {"type": "string", "logicalType": "uuid"}))
    codec = Codec(contract, KnownSchemas())
    known = uuid.UUID(int=7)
    assert codec.decode(codec.encode_rows([{"id": known}])).table["id"].to_pylist() == [str(known)]
