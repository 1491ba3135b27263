import pytest

from tidemill.schemas.constraints import Constraints, tightened
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import SchemaError

ENUM = {"type": "enum", "name": "E", "symbols": ["EWR", "JFK"]}
DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}
DATE = {"type": "int", "logicalType": "date"}


def constraints(avro, **words):
    field = {"name": "a", "type": avro, "constraints": words}
    return Contract.parse({"type": "record", "name": "R", "fields": [field]}).field("a").constraints


@pytest.mark.parametrize(
    ("avro", "words", "expected"),
    [
        ("int", {"minimum": 1, "maximum": 6000}, Constraints(minimum=1, maximum=6000)),
        ("double", {"exclusiveMinimum": 0.5}, Constraints(exclusive_minimum=0.5)),
        (["null", "float"], {"exclusiveMaximum": 1, "required": True}, Constraints(exclusive_maximum=1, required=True)),
        (DECIMAL, {"minimum": 0}, Constraints(minimum=0)),
        ("string", {"enum": ["a", "b"]}, Constraints(enum=("a", "b"))),
        ("long", {"enum": [1, 2]}, Constraints(enum=(1, 2))),
        (ENUM, {"enum": ["JFK"]}, Constraints(enum=("JFK",))),
        (
            "string",
            {"pattern": "^N[0-9]+", "minLength": 2, "maxLength": 6},
            Constraints(None, None, None, None, None, "^N[0-9]+", 2, 6),
        ),
        ("string", {}, Constraints()),
    ],
)
def test_they_are_read_in_json_schemas_words(avro, words, expected):
    assert constraints(avro, **words) == expected


@pytest.mark.parametrize(
    ("avro", "words", "said"),
    [
        ("int", {"minimun": 1}, "unknown word 'minimun'; did you mean 'minimum'"),
        ("int", {"pattern": "x"}, "pattern goes with string; the field is int"),
        ("string", {"minimum": 1}, "minimum goes with int, long, float, double, decimal; the field is string"),
        (DATE, {"minimum": 1}, "the field is date"),
        ("int", {"minimum": "1"}, "minimum is a number; got '1'"),
        ("int", {"minimum": True}, "minimum is a number; got True"),
        ("double", {"maximum": float("inf")}, "maximum is a number; got inf"),
        ("int", {"minLength": 1}, "minLength goes with string"),
        ("string", {"maxLength": -1}, "a number of characters; got -1"),
        ("string", {"pattern": "("}, "'\\(' is not a regular expression"),
        ("string", {"pattern": "(?=x)"}, "not a regular expression"),
        ("string", {"pattern": 3}, "a regular expression; got 3"),
        ("string", {"enum": []}, "at least one value"),
        ("string", {"enum": ["a", 1]}, "lists str values; got 1"),
        ("int", {"enum": [True]}, "lists int values; got True"),
        ("double", {"enum": [1.5]}, "enum goes with"),
        (ENUM, {"enum": ["JFC"]}, "'JFC', no symbol; did you mean 'JFK'"),
        ("string", {"required": "yes"}, "true or false; got 'yes'"),
        ("int", {"minimum": 5, "exclusiveMaximum": 4}, "no value is from 5 to 4"),
        ("string", {"minLength": 3, "maxLength": 2}, "no string has from 3 to 2"),
    ],
)
def test_what_does_not_make_sense_is_refused(avro, words, said):
    with pytest.raises(SchemaError, match=said):
        constraints(avro, **words)


def test_they_are_an_object():
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": "int", "constraints": [1]}]}
    with pytest.raises(SchemaError, match="expected an object"):
        Contract.parse(schema)


def test_none_is_false():
    assert not Constraints()
    assert Constraints(min_length=0)


@pytest.mark.parametrize(
    ("was", "now", "word"),
    [
        (Constraints(), Constraints(minimum=0), "lower bound was none, and is now 0"),
        (Constraints(minimum=0), Constraints(exclusive_minimum=0), "lower bound was 0, and is now 0, excluded"),
        (Constraints(maximum=9), Constraints(maximum=8.5), "upper bound was 9, and is now 8.5"),
        (Constraints(maximum=9), Constraints(exclusive_maximum=9), "upper bound was 9, and is now 9, excluded"),
        (Constraints(enum=("a", "b")), Constraints(enum=("b", "c")), "enum no longer has 'a'"),
        (Constraints(), Constraints(enum=("b",)), "enum is new"),
        (Constraints(pattern="a"), Constraints(pattern="b"), "pattern was 'a', and is now 'b'"),
        (Constraints(), Constraints(min_length=1), "minLength was None, and is now 1"),
        (Constraints(max_length=3), Constraints(max_length=2), "maxLength was 3, and is now 2"),
        (Constraints(), Constraints(required=True), "null is refused now"),
    ],
)
def test_a_tightened_constraint_is_told_from_a_loosened_one(was, now, word):
    assert len(tightened(was, now)) == 1
    assert word in tightened(was, now)[0]
    assert not tightened(was, was)
    if now != Constraints(enum=("b", "c")) and now.pattern != "b":
        assert not tightened(now, was)
