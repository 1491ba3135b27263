import pytest

from tidemill.schemas.contract import Contract
from tidemill.schemas.defaults import default_value
from tidemill.schemas.errors import SchemaError

POINT = {
    "type": "record",
    "name": "P",
    "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": "int", "default": 7}],
}


def value(avro, default):
    node = Contract.writer({"type": "record", "name": "R", "fields": [{"name": "a", "type": avro}]}).node
    return default_value(node.fields[0].type, default)


@pytest.mark.parametrize(
    ("avro", "default", "expected"),
    [
        ("null", None, None),
        ("boolean", True, True),
        ("int", -(2**31), -(2**31)),
        ("long", 2**63 - 1, 2**63 - 1),
        ("double", 1, 1.0),
        ("string", "é", "é"),
        ("bytes", "\u00ff\u0000", b"\xff\x00"),
        ({"type": "fixed", "name": "F", "size": 2}, "ab", b"ab"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "A", "A"),
        ({"type": "array", "items": "bytes"}, ["a"], [b"a"]),
        ({"type": "map", "values": "float"}, {"k": 2}, {"k": 2.0}),
        (["null", "int"], 3, 3),
        (["int", "null"], None, None),
        (POINT, {"x": 1}, {"x": 1, "y": 7}),
    ],
)
def test_a_default_in_json_stands_for_a_value(avro, default, expected):
    found = value(avro, default)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("avro", "default"),
    [
        ("int", 2**31),
        ("int", True),
        ("int", 1.0),
        ("long", 2**63),
        ("double", "NaN"),
        ("double", float("nan")),
        ("string", None),
        ("bytes", "\u0100"),
        ({"type": "fixed", "name": "F", "size": 2}, "a"),
        ({"type": "enum", "name": "E", "symbols": ["A"]}, "B"),
        ({"type": "array", "items": "int"}, [1, "x"]),
        ({"type": "map", "values": "int"}, ["k"]),
        (["null", "int"], "x"),
        (POINT, {"y": 1}),
    ],
)
def test_a_default_of_another_type_is_refused(avro, default):
    with pytest.raises(SchemaError, match="default"):
        value(avro, default)
