import json

import avro.schema
import pytest
from fastavro.schema import fingerprint as fastavro_fingerprint
from fastavro.schema import to_parsing_canonical_form

from tidemill.schemas.canonical import fingerprint
from tidemill.schemas.contract import Contract

# From the test vectors that all of Avro's implementations share (share/test/data/schema-tests.txt).
PRIMITIVES = {
    '"null"': 7195948357588979594,
    '"boolean"': -6970731678124411036,
    '"int"': 8247732601305521295,
    '"long"': -3434872931120570953,
    '"float"': 5583340709985441680,
    '"double"': -8181574048448539266,
    '"bytes"': 5746618253357095269,
    '"string"': -8142146995180207161,
    '{"name":"x.y.z.foo","type":"fixed","size":32}': -3064184465700546786,
}
RECORDS = [
    ('{"fields":[], "type":"record", "name":"foo"}', "foo", -4824392279771201922),
    ('{"fields":[], "type":"record", "name":"foo", "namespace":"x.y"}', "x.y.foo", 5916914534497305771),
    ('{"fields":[], "type":"record", "name":"a.b.foo", "namespace":"x.y"}', "a.b.foo", -4616218487480524110),
    ('{"fields":[], "type":"record", "name":"foo", "aliases":["foo","bar"], "doc":"x"}', "foo", -4824392279771201922),
    (
        '{"fields":[{"type":{"type":"boolean"}, "name":"f1"}], "type":"record", "name":"foo"}',
        "foo",
        7843277075252814651,
    ),
    (
        '{"name":"PigValue","type":"record","fields":[{"name":"value", "type":["null", "int", "long", "PigValue"]}]}',
        "PigValue",
        -1759257747318642341,
    ),
]
FIXED = {"type": "fixed", "name": "F", "size": 4}


def contract(*types):
    fields = [{"name": f"f{place}", "type": avro} for place, avro in enumerate(types)]
    return Contract.writer({"type": "record", "name": "foo", "namespace": "x.y", "fields": fields})


@pytest.mark.parametrize(("canonical", "expected"), PRIMITIVES.items())
def test_the_fingerprint_is_the_specifications(canonical, expected):
    assert int.from_bytes(fingerprint(canonical), "little", signed=True) == expected


@pytest.mark.parametrize(("text", "name", "expected"), RECORDS)
def test_a_records_fingerprint_is_the_specifications(text, name, expected):
    found = Contract.writer(text)
    assert found.name == name
    assert int.from_bytes(found.fingerprint, "little", signed=True) == expected
    assert found.fingerprint_hex == found.fingerprint.hex()


@pytest.mark.parametrize(
    "types",
    [
        ["int", ["null", "string"], {"type": "array", "items": "long"}, {"type": "map", "values": ["null", "double"]}],
        [{"type": "enum", "name": "E", "symbols": ["A", "B"]}, "E", "x.y.E", ["null", "E"]],
        [{"type": "record", "name": "z.R", "fields": [{"name": "e", "type": {**FIXED, "name": "G"}}]}, "z.R", "z.G"],
        [{"type": "long", "logicalType": "timestamp-micros"}, {"type": "string", "logicalType": "uuid"}],
        [{"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, {"type": "int", "unit": "m"}],
        [FIXED, "F"],
    ],
)
def test_it_agrees_with_another_implementation(types):
    found = contract(*types)
    theirs = to_parsing_canonical_form(found.schema)
    assert found.canonical == theirs
    assert found.fingerprint_hex == fastavro_fingerprint(theirs, "CRC-64-AVRO")


def test_it_agrees_with_the_avro_library_where_that_follows_the_specification():
    found = contract("int", ["null", "string"], {"type": "enum", "name": "E", "symbols": ["A", "B"]}, "E")
    assert found.fingerprint == avro.schema.parse(found.text).fingerprint()


def test_what_does_not_change_the_bytes_does_not_change_the_fingerprint():
    plain = {"type": "record", "name": "foo", "fields": [{"name": "a", "type": "long"}]}
    logical = {"type": "long", "logicalType": "timestamp-millis"}
    told = {"name": "a", "type": logical, "doc": "d", "default": 0, "size": 3, "constraints": {}, "aliases": ["b"]}
    assert Contract.parse(plain | {"fields": [told]}).fingerprint == Contract.parse(plain).fingerprint
    assert Contract.parse(plain).canonical == json.dumps(plain, separators=(",", ":")).replace(
        '"type":"record","name":"foo"', '"name":"foo","type":"record"'
    )
