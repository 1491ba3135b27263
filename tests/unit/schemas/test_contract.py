import json
from pathlib import Path

import pyarrow as pa
import pytest

from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import SchemaError

MICROS = {"type": "long", "logicalType": "timestamp-micros"}


def record(*fields, **more):
    return {"type": "record", "name": "sea.Tide", "fields": list(fields), **more}


def test_a_contract_knows_its_fields_and_columns():
    contract = Contract.parse(
        record(
            {"name": "at", "type": MICROS, "doc": "when"},
            {"name": "height", "type": ["null", "double"], "default": None, "constraints": {"minimum": 0}},
            {"name": "port", "type": "string", "aliases": ["harbour"], "default": "EWR"},
        )
    )
    assert contract.name == "sea.Tide"
    assert [(f.name, f.nullable, f.doc, f.aliases, f.has_default, f.default) for f in contract.fields] == [
        ("at", False, "when", (), False, None),
        ("height", True, "", (), True, None),
        ("port", False, "", ("harbour",), True, "EWR"),
    ]
    assert contract.fields[0].avro == MICROS
    assert contract.arrow == pa.schema(
        [
            pa.field("at", pa.timestamp("us", "UTC"), nullable=False),
            pa.field("height", pa.float64()),
            pa.field("port", pa.string(), nullable=False),
        ]
    )
    assert list(contract.constraints) == ["height"]
    assert contract.field("height").constraints.minimum == 0


def test_the_text_keeps_everything_that_was_declared_and_is_compact():
    schema = record({"name": "h", "type": "int", "doc": "Höhe", "constraints": {"maximum": 9}, "unit": "m"}, note=[1])
    text = Contract.parse(json.dumps(schema, indent=4)).text
    assert json.loads(text) == schema
    assert "Höhe" in text
    assert "\n" not in text
    assert Contract.parse(text).text == text


def test_contracts_with_the_same_text_are_equal():
    schema = record({"name": "h", "type": "int"})
    assert Contract.parse(schema) == Contract.parse(json.dumps(schema))
    assert len({Contract.parse(schema), Contract.parse(schema)}) == 1
    assert Contract.parse(schema) != Contract.parse(schema | {"doc": "another"})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"type": "record",\n "name": }', "line 2 column 10: not JSON"),
        ('{"type": "enum", "name": "x", "symbols": ["A"]}', "expected an Avro record"),
        ('"string"', "expected an Avro record"),
        ('{"type": "record", "name": "x"}', "not an Avro schema"),
        ('{"type": "record", "fields": []}', "not an Avro schema"),
        ('{"type": "record", "name": "x", "fields": []}', "x has no fields"),
        (
            '{"type":"record","name":"x","fields":[{"name":"a","type":"int"},\n{"name":"b","type":"itn"}]}',
            "line 2, field 'b'",
        ),
        ('{"type":"record","name":"x","fields":[{"name":"a","type":"int"},\n{"name":"a","type":"int"}]}', "field 'a'"),
        ('{"type":"record","name":"x","fields":[\n{"name":"no good","type":"int"}]}', "line 2, field 'no good'"),
        ('{"type":"record","name":"x","fields":[{"name":"a"}]}', "field 'a'"),
        ('{"type":"record","name":"x","fields":["a"]}', "not an Avro schema"),
        (
            '{"type":"record","name":"x","fields":[\n{"name":"a","type":["int","string"]}]}',
            "line 2, field 'a': a column holds one",
        ),
        (
            '{"type":"record","name":"x","fields":[{"name":"a","type":"int","default":"1"}]}',
            "field 'a': the default '1'",
        ),
        ('{"type":"record","name":"x","fields":[{"name":"a","type":"int","aliases":"b"}]}', "aliases: expected a list"),
        (
            '{"type":"record","name":"x","fields":[{"name":"a","type":"int","constraints":{"max":1}}]}',
            "field 'a': constraints",
        ),
        (
            '{"type":"record","name":"x","fields":[{"name":"a","type":{"type":"int","constraints":{"maximum":1}}}]}',
            "beside",
        ),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_a_malformed_schema_says_where(text, said):
    with pytest.raises(SchemaError, match="the schema") as fault:
        Contract.parse(text)
    assert said in str(fault.value)


def test_a_file_is_named_in_its_errors(tmp_path: Path):
    path = tmp_path / "tide.avsc"
    path.write_text(json.dumps(record({"name": "h", "type": "itn"}), indent=1))
    with pytest.raises(SchemaError, match=rf"{path}, line \d+, field 'h'"):
        Contract.load(path)
    with pytest.raises(SchemaError, match=r"absent\.avsc: cannot be read"):
        Contract.load(tmp_path / "absent.avsc")
    path.write_text(json.dumps(record({"name": "h", "type": "int"})))
    assert Contract.load(path).field("h").arrow == pa.int32()


def test_an_unknown_field_is_answered_with_the_nearest():
    with pytest.raises(SchemaError, match=r"sea\.Tide has no field 'heigth'; did you mean 'height'\?"):
        Contract.parse(record({"name": "height", "type": "int"})).field("heigth")


def test_a_writers_schema_may_hold_more_than_columns_do():
    foreign = Contract.writer(record({"name": "a", "type": ["int", "string"], "constraints": "of its own meaning"}))
    assert len(foreign.fingerprint) == 8
    with pytest.raises(SchemaError, match="a column holds one type"):
        _ = foreign.arrow


def test_types_that_multiply_are_refused():
    layers = "long"
    for depth in range(30):
        pair = [{"name": "a", "type": layers}, {"name": "b", "type": layers if depth == 0 else f"L{depth - 1}"}]
        layers = {"type": "record", "name": f"L{depth}", "fields": pair}
    with pytest.raises(SchemaError, match="more than 10000 types"):
        Contract.writer(record({"name": "a", "type": layers}))
