import pytest

from tidemill.schemas.compatibility import check, require
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import IncompatibleSchema
from tidemill.schemas.matching import Rule

MILLIS = {"type": "long", "logicalType": "timestamp-millis"}
MICROS = {"type": "long", "logicalType": "timestamp-micros"}


def record(*fields, name="sea.Tide", **more):
    declared = [{"name": f[0], "type": f[1], **(f[2] if len(f) > 2 else {})} for f in fields]
    return Contract.parse({"type": "record", "name": name, "fields": declared, **more})


def one(avro, **more):
    return record(("a", avro, more))


def enum(*symbols, name="E", **more):
    return {"type": "enum", "name": name, "symbols": list(symbols), **more}


def fixed(size, name="F", **more):
    return {"type": "fixed", "name": name, "size": size, **more}


def inner(*fields, name="In", **more):
    return {"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields], **more}


def array(items):
    return {"type": "array", "items": items}


def found(old, new, mode="full"):
    return [(f.direction, f.field, f.rule) for f in check(old, new, mode)]


B, F = "backward", "forward"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (one("int"), one("int", doc="another"), []),
        (one("int"), one("long"), [(F, "a", Rule.TYPE_MISMATCH)]),
        (one("long"), one("int"), [(B, "a", Rule.TYPE_MISMATCH)]),
        (one("float"), one("double"), [(F, "a", Rule.TYPE_MISMATCH)]),
        (one("string"), one("bytes"), []),
        (one("int"), one("string"), [(B, "a", Rule.TYPE_MISMATCH), (F, "a", Rule.TYPE_MISMATCH)]),
        (one("int"), one(["null", "int"]), [(F, "a", Rule.TYPE_MISMATCH)]),
        (one(["null", "int"]), one("int"), [(B, "a", Rule.TYPE_MISMATCH)]),
        (one(["null", "int"]), one(["int", "null"]), []),
        (one(["null", "int"]), one(["null", "long"]), [(F, "a", Rule.MISSING_UNION_BRANCH)]),
        (
            one(["null", "int"]),
            one(["null", "string"]),
            [(B, "a", Rule.MISSING_UNION_BRANCH), (F, "a", Rule.MISSING_UNION_BRANCH)],
        ),
        (record(("a", "int")), record(("a", "int"), ("b", "int")), [(B, "b", Rule.READER_FIELD_MISSING_DEFAULT_VALUE)]),
        (record(("a", "int")), record(("a", "int"), ("b", "int", {"default": 1})), []),
        (record(("a", "int"), ("b", "int")), record(("a", "int")), [(F, "b", Rule.READER_FIELD_MISSING_DEFAULT_VALUE)]),
        (record(("a", "int"), ("b", "int", {"default": 1})), record(("a", "int")), []),
        (record(("a", "int"), ("b", "int")), record(("b", "int"), ("a", "int")), []),
        (
            record(("a", "int")),
            record(("z", "int", {"aliases": ["a"]})),
            [(F, "a", Rule.READER_FIELD_MISSING_DEFAULT_VALUE)],
        ),
        (one(enum("A")), one(enum("A", "B")), [(F, "a", Rule.MISSING_ENUM_SYMBOLS)]),
        (one(enum("A", "B")), one(enum("A", default="A")), []),
        (one(enum("A")), one(enum("A", name="G")), [(B, "a", Rule.NAME_MISMATCH), (F, "a", Rule.NAME_MISMATCH)]),
        (one(enum("A")), one(enum("A", name="G", aliases=["E"])), [(F, "a", Rule.NAME_MISMATCH)]),
        (one(fixed(2)), one(fixed(3)), [(B, "a", Rule.FIXED_SIZE_MISMATCH), (F, "a", Rule.FIXED_SIZE_MISMATCH)]),
        (
            one(array("int")),
            one(array("string")),
            [(B, "a.items", Rule.TYPE_MISMATCH), (F, "a.items", Rule.TYPE_MISMATCH)],
        ),
        (
            one({"type": "map", "values": inner(("x", "int"))}),
            one({"type": "map", "values": inner(("x", "int"), ("y", "int"))}),
            [(B, "a.values.y", Rule.READER_FIELD_MISSING_DEFAULT_VALUE)],
        ),
        (
            one(["null", array(inner(("x", "int")))]),
            one(["null", array(inner(("x", "boolean")))]),
            [(B, "a.items.x", Rule.TYPE_MISMATCH), (F, "a.items.x", Rule.TYPE_MISMATCH)],
        ),
        (
            one(inner(("x", "int"))),
            one(inner(("x", "int"), name="Out", aliases=["In"])),
            [(F, "a", Rule.NAME_MISMATCH)],
        ),
        (one(MILLIS), one(MICROS), [(B, "a", Rule.TYPE_MISMATCH), (F, "a", Rule.TYPE_MISMATCH)]),
        (one("long"), one(MICROS), []),
        (
            one({"type": "int", "logicalType": "date"}),
            one(MILLIS),
            [(B, "a", Rule.TYPE_MISMATCH), (F, "a", Rule.TYPE_MISMATCH)],
        ),
        (
            one({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}),
            one({"type": "bytes", "logicalType": "decimal", "precision": 5, "scale": 2}),
            [(B, "a", Rule.TYPE_MISMATCH), (F, "a", Rule.TYPE_MISMATCH)],
        ),
        (one({"type": "string", "logicalType": "uuid"}), one("string"), []),
        (record(("a", "int"), name="x.R"), record(("a", "int"), name="y.R"), []),
        (
            record(("a", "int"), name="x.R"),
            record(("a", "int"), name="x.S"),
            [(B, "", Rule.NAME_MISMATCH), (F, "", Rule.NAME_MISMATCH)],
        ),
        (
            record(("a", "int"), name="x.R"),
            record(("a", "int"), name="x.S", aliases=["R"]),
            [(F, "", Rule.NAME_MISMATCH)],
        ),
        (
            record(("a", "int"), name="x.R"),
            record(("a", "int"), name="y.S", aliases=["x.R"]),
            [(F, "", Rule.NAME_MISMATCH)],
        ),
        (
            record(("a", "int"), name="x.R"),
            record(("a", "int"), name="y.S", aliases=["R"]),
            [(B, "", Rule.NAME_MISMATCH), (F, "", Rule.NAME_MISMATCH)],
        ),
    ],
)
def test_every_rule_finds_its_field(old, new, expected):
    assert found(old, new) == expected
    assert found(old, new, "backward") == [f for f in expected if f[0] == B]
    assert found(old, new, "forward") == [f for f in expected if f[0] == F]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"maximum": 9}, True),
        ({"maximum": 9}, {"maximum": 10}, False),
        ({"maximum": 9}, {}, False),
        ({"maximum": 9}, {"maximum": 8}, True),
        ({"enum": [1, 2]}, {"enum": [1]}, True),
        ({}, {"required": True}, True),
    ],
)
def test_a_tightened_constraint_is_backward(old, new, expected):
    changed = one(["null", "int"], constraints=old), one(["null", "int"], constraints=new)
    assert found(*changed) == ([(B, "a", Rule.CONSTRAINT_TIGHTENED)] if expected else [])
    assert found(*changed, "forward") == []


def test_a_constraint_follows_a_renamed_field():
    old = one("int", constraints={"maximum": 9})
    assert found(old, record(("b", "int", {"aliases": ["a"], "constraints": {"maximum": 9}})), "backward") == []
    assert found(old, record(("b", "int", {"aliases": ["a"], "constraints": {"maximum": 8}})), "backward") != []


def test_requiring_what_old_events_cannot_have_is_tightened():
    new = record(("a", "int"), ("b", ["null", "int"], {"default": None, "constraints": {"required": True}}))
    assert found(one("int"), new) == [(B, "b", Rule.CONSTRAINT_TIGHTENED)]
    given = record(
        ("a", "int"), ("b", ["int", "null"], {"default": 1, "constraints": {"required": True, "maximum": 5}})
    )
    assert found(one("int"), given) == []
    assert found(one("int"), one(["null", "int"], constraints={"required": True}), "backward") == []


def test_a_writers_union_is_looked_into_branch_by_branch():
    old = Contract.writer({"type": "record", "name": "sea.Tide", "fields": [{"name": "a", "type": ["int", "long"]}]})
    assert found(old, one("double"), "backward") == []
    assert found(old, one("int"), "backward") == [(B, "a", Rule.TYPE_MISMATCH)]


def test_types_that_contain_themselves_end():
    def tree(value):
        fields = [{"name": "left", "type": ["null", "T"]}, {"name": "n", "type": value}]
        return Contract.writer({"type": "record", "name": "T", "fields": fields})

    assert check(tree("int"), tree("int"), "forward") == []
    assert found(tree("int"), tree("string"), "forward") == [(F, "n", Rule.TYPE_MISMATCH)]


def test_requiring_compatibility_lists_everything_and_what_to_do():
    old = record(("a", "int"), ("b", "string"))
    new = record(("a", "string"), ("c", "int"))
    with pytest.raises(IncompatibleSchema) as fault:
        require(old, new, "full", "topic flights.events")
    lines = str(fault.value).splitlines()
    assert lines[0] == "topic flights.events: sea.Tide breaks what uses the earlier schema:"
    assert len(lines) == 5
    assert "a: TYPE_MISMATCH (backward): written as int, read as string; keep the type" in lines[1]
    assert "c: READER_FIELD_MISSING_DEFAULT_VALUE (backward)" in lines[2]
    assert "give it one" in lines[2]
    require(old, record(("a", "int"), ("b", "string"), ("c", "int", {"default": 0})), "full", "")
