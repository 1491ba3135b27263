import pytest

from tidemill.schemas.codec import Codec, Reason
from tidemill.schemas.contract import Contract
from tidemill.schemas.framing import Confluent
from tidemill.schemas.resolver import KnownSchemas

DATE = {"type": "int", "logicalType": "date"}
MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


def record(*fields, name="sea.Tide", **more):
    declared = [{"name": f[0], "type": f[1], **(f[2] if len(f) > 2 else {})} for f in fields]
    return Contract.writer({"type": "record", "name": name, "fields": declared, **more})


def enum(*symbols, **more):
    return {"type": "enum", "name": "E", "symbols": list(symbols), **more}


def read(writer, reader, *rows):
    """What the writer wrote, as the reader sees it."""
    messages = Codec(writer, KnownSchemas()).encode_rows(rows)
    return Codec(reader, KnownSchemas([writer])).decode(messages)


def values(writer, reader, *given):
    decoded = read(record(("a", writer)), record(("a", reader)), *[{"a": value} for value in given])
    assert not decoded.bad, decoded.bad
    assert decoded.table.schema == record(("a", reader)).arrow
    return decoded.table["a"].to_pylist()


@pytest.mark.parametrize(
    ("writer", "reader", "given", "expected"),
    [
        ("int", "long", 3, 3),
        ("int", "float", 3, 3.0),
        ("int", "double", 3, 3.0),
        ("long", "float", 2**24 + 1, 2.0**24),
        ("long", "double", 2**53 + 1, 2.0**53),
        ("float", "double", 0.5, 0.5),
        ("string", "bytes", "é", b"\xc3\xa9"),
        ("bytes", "string", b"\xc3\xa9", "é"),
        ("int", ["null", "double"], 3, 3.0),
        (["null", "int"], ["long", "null"], 3, 3),
        (["null", "int"], ["long", "null"], None, None),
        (["null", "int"], "int", 3, 3),
        (["null", "int"], "null", None, None),
        ("null", ["null", "int"], None, None),
        (enum("A", "B"), enum("B", "A", "C"), "B", "B"),
        (enum("A", "B"), enum("A", default="A"), "B", "A"),
        ({"type": "array", "items": "int"}, {"type": "array", "items": ["null", "double"]}, [1, 2], [1.0, 2.0]),
        ({"type": "map", "values": "int"}, {"type": "map", "values": "long"}, {"k": 1}, [("k", 1)]),
        ("long", MICROS, 1, None),
        (MICROS, "long", 1, 1),
    ],
)
def test_a_written_value_is_read_as_the_readers_type(writer, reader, given, expected):
    (found,) = values(writer, reader, given)
    if expected is not None or given is None:
        assert found == expected


def test_fields_are_matched_by_name_and_alias_in_any_order():
    writer = record(("gone", {"type": "array", "items": "string"}), ("b", "int"), ("old", "string"))
    reader = record(("new", "string", {"aliases": ["older", "old"]}), ("b", "int"), ("c", "int", {"default": 7}))
    decoded = read(writer, reader, {"gone": ["x"], "b": 1, "old": "t"}, {"gone": [], "b": 2, "old": "u"})
    assert decoded.table.to_pylist() == [{"new": "t", "b": 1, "c": 7}, {"new": "u", "b": 2, "c": 7}]


def test_defaults_of_every_type_fill_in():
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}
    point = {
        "type": "record",
        "name": "P",
        "fields": [{"name": "x", "type": "int"}, {"name": "at", "type": ["null", DATE]}],
    }
    reader = record(
        ("a", "int"),
        ("b", "bytes", {"default": "\u00ff"}),
        ("d", decimal, {"default": "\u0001\u0000"}),
        ("e", ["null", "string"], {"default": None}),
        ("m", {"type": "map", "values": "double"}, {"default": {"k": 1}}),
        ("p", {"type": "array", "items": point}, {"default": [{"x": 1, "at": 2}]}),
        ("t", DATE, {"default": 1}),
    )
    (row,) = read(record(("a", "int")), reader, {"a": 1}).table.to_pylist()
    assert (row["b"], str(row["d"]), row["e"], row["m"]) == (b"\xff", "2.56", None, [("k", 1.0)])
    assert (str(row["p"][0]["at"]), str(row["t"])) == ("1970-01-03", "1970-01-02")


def test_only_what_no_field_is_written_for_is_read_from_defaults():
    decoded = read(record(("x", "int")), record(("y", "int", {"default": 5})), {"x": 1}, {"x": 2})
    assert decoded.table.to_pylist() == [{"y": 5}, {"y": 5}]


def test_nested_records_are_resolved_too():
    def nested(*fields):
        return record(
            ("r", {"type": "record", "name": "In", "fields": [{"name": n, "type": t, **m} for n, t, m in fields]})
        )

    writer = nested(("gone", "string", {}), ("x", "int", {}))
    reader = nested(("y", "double", {"aliases": ["x"]}), ("z", "string", {"default": "d"}))
    assert read(writer, reader, {"r": {"gone": "g", "x": 3}}).table.to_pylist() == [{"r": {"y": 3.0, "z": "d"}}]


def test_a_renamed_record_needs_an_alias():
    writer = record(("a", "int"), name="sea.Old")
    assert read(writer, record(("a", "int")), {"a": 1}).bad[0].reason == Reason.INCOMPATIBLE_SCHEMA
    assert not read(writer, record(("a", "int"), name="sea.New", aliases=["Old"]), {"a": 1}).bad
    assert not read(writer, record(("a", "int"), name="lake.New", aliases=["sea.Old"]), {"a": 1}).bad
    assert not read(writer, record(("a", "int"), name="lake.Old"), {"a": 1}).bad, "only the last part of a name counts"


@pytest.mark.parametrize(
    ("writer", "reader", "said"),
    [
        (record(("a", "string")), record(("a", "int")), "field 'a': written as string, read as int"),
        (record(("a", "double")), record(("a", "float")), "written as double, read as float"),
        (record(("a", "int")), record(("a", ["null", "string"])), "written as int, read as [null, string]"),
        (record(("a", "int")), record(("a", "int"), ("b", "int")), "field 'b': not written, and without a default"),
        (
            record(("a", MILLIS)),
            record(("a", MICROS)),
            "written as timestamp-millis (long), read as timestamp-micros",
        ),
        (record(("a", DATE)), record(("a", MILLIS)), "written as date"),
        (
            record(("a", {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2})),
            record(("a", {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 1})),
            "written as decimal(4, 2) (bytes), read as decimal(4, 1)",
        ),
        (
            record(("a", {"type": "fixed", "name": "F", "size": 2})),
            record(("a", {"type": "fixed", "name": "F", "size": 3})),
            "written with 2 bytes, read with 3",
        ),
        (record(("a", enum("A"))), record(("a", {**enum("A"), "name": "G"})), "written as sea.E, read as sea.G"),
        (
            record(("a", "int")),
            record(("b", "int", {"aliases": ["a"]}), ("c", "int", {"aliases": ["a"]})),
            "field 'c': the written field 'a' is taken by another field too",
        ),
    ],
)
def test_a_writer_that_cannot_be_read_is_refused_with_the_field(writer, reader, said):
    class Registry(KnownSchemas):
        def by_id(self, schema_id):
            return writer

    (bad,) = Codec(reader, Registry()).decode([Confluent(1).prefix + b"\x00"]).bad
    assert bad.reason == Reason.INCOMPATIBLE_SCHEMA
    assert f"id 1 cannot be read as {reader.name}" in bad.message
    assert said in bad.message


def test_of_a_union_and_an_enum_only_the_messages_that_hold_the_missing_are_refused():
    decoded = read(record(("a", ["null", "int"])), record(("a", "int")), {"a": 1}, {"a": None}, {"a": 2})
    assert decoded.table["a"].to_pylist() == [1, 2]
    assert [(b.row, b.reason) for b in decoded.bad] == [(1, Reason.INCOMPATIBLE_SCHEMA)]
    assert "written as null, read as int" in decoded.bad[0].message
    decoded = read(record(("a", enum("EWR", "JFK"))), record(("a", enum("JFK"))), {"a": "JFK"}, {"a": "EWR"})
    assert decoded.table["a"].to_pylist() == ["JFK"]
    assert "the symbol 'EWR' is not one of the reader's" in decoded.bad[0].message


def test_a_field_that_the_reader_does_not_want_may_be_of_any_type():
    tree = {
        "type": "record",
        "name": "T",
        "fields": [{"name": "left", "type": ["null", "T"]}, {"name": "n", "type": "int"}],
    }
    writer = record(
        ("tree", tree),
        ("any", ["int", "string", enum("A")]),
        ("f", {"type": "fixed", "name": "F", "size": 1}),
        ("b", "int"),
    )
    codec = Codec(record(("b", "int")), KnownSchemas([writer]))
    prefix = b"\xc3\x01" + writer.fingerprint
    good = prefix + b"\x02\x00\x02\x04" + b"\x02\x02x" + b"f" + b"\x0a"
    assert codec.decode([good]).table.to_pylist() == [{"b": 5}]
    for size in range(len(prefix), len(good)):
        assert codec.decode([good[:size]]).bad[0].reason == Reason.UNDECODABLE, "its bytes must be there all the same"
    deep = prefix + b"\x02" * 1_000_000
    assert "nested too deeply" in codec.decode([deep]).bad[0].message


def test_an_array_of_nothing_cannot_hold_the_reader_up():
    writer = record(("nothing", {"type": "array", "items": "null"}), ("b", "int"))
    (bad,) = (
        Codec(record(("b", "int")), KnownSchemas([writer])).decode([b"\xc3\x01" + writer.fingerprint + b"\x00\x00"]).bad
    )
    assert bad.reason == Reason.INCOMPATIBLE_SCHEMA
    assert "takes no bytes per item" in bad.message


def test_writers_of_several_schemas_come_out_as_one_table_in_order():
    old = record(("a", "int"))
    new = record(("a", "long"), ("b", ["null", "string"], {"default": None}))
    olds = Codec(old, KnownSchemas()).encode_rows([{"a": n} for n in range(3)])
    news = Codec(new, KnownSchemas()).encode_rows([{"a": n, "b": "x"} for n in range(3)])
    mixed = [message for pair in zip(news, olds, strict=True) for message in pair]
    decoded = Codec(new, KnownSchemas([old])).decode([mixed[0], b"?", *mixed[1:]])
    assert decoded.table["a"].to_pylist() == [0, 0, 1, 1, 2, 2]
    assert decoded.table["b"].to_pylist() == ["x", None] * 3
    assert decoded.rows.tolist() == [0, 2, 3, 4, 5, 6]
    assert decoded.table.schema == new.arrow
