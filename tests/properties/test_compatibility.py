"""What the compatibility check says, held against the codec, the `avro` library's checker, and fastavro's reader."""

import io

import avro.compatibility
import avro.schema
import fastavro
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.schemas.codec import Codec
from tidemill.schemas.compatibility import check
from tidemill.schemas.contract import Contract
from tidemill.schemas.framing import Confluent
from tidemill.schemas.resolver import KnownSchemas

PRIMITIVES = {
    "boolean": st.booleans(),
    "int": st.integers(-100, 100),
    "long": st.integers(-100, 100),
    "float": st.floats(-100, 100, width=16),
    "double": st.floats(-100, 100, width=16),
    "string": st.text("abc", max_size=3),
    "bytes": st.text("abc", max_size=3).map(str.encode),
}


@st.composite
def types(draw, name, depth=2):
    """One of few types, so that two drawn at random often go together; with a strategy for its values."""
    kind = draw(
        st.sampled_from(
            ["primitive", "primitive", "nullable", "enum", "fixed", *(["array", "map", "record"] if depth else [])]
        )
    )
    match kind:
        case "nullable":
            avro, values = draw(types(name, 0).filter(lambda pair: not isinstance(pair[0], list)))
            return draw(st.permutations(["null", avro])), st.none() | values
        case "enum":
            symbols = draw(st.lists(st.sampled_from("AB"), min_size=1, unique=True))
            default = draw(st.sampled_from([{}, {"default": symbols[0]}]))
            return {"type": "enum", "name": f"{name}E", "symbols": symbols, **default}, st.sampled_from(symbols)
        case "fixed":
            size = draw(st.integers(1, 2))
            return {"type": "fixed", "name": f"{name}F", "size": size}, st.binary(min_size=size, max_size=size)
        case "array":
            avro, values = draw(types(name, depth - 1))
            return {"type": "array", "items": avro}, st.lists(values, max_size=2)
        case "map":
            avro, values = draw(types(name, depth - 1))
            return {"type": "map", "values": avro}, st.dictionaries(st.just("k"), values)
        case "record":
            return draw(records(draw(st.sampled_from([f"{name}R", f"{name}S"])), depth - 1))
    primitive = draw(st.sampled_from(sorted(PRIMITIVES)))
    return primitive, PRIMITIVES[primitive]


@st.composite
def records(draw, name, depth=2):
    fields, values = [], {}
    for field in draw(st.lists(st.sampled_from("abc"), min_size=1, unique=True)):
        avro, values[field] = draw(types(f"{name}_{field}", depth))
        default = {"default": None} if isinstance(avro, list) and avro[0] == "null" and draw(st.booleans()) else {}
        fields.append({"name": field, "type": avro, **default})
    return {"type": "record", "name": name, "fields": fields}, st.fixed_dictionaries(values)


class Registry(KnownSchemas):
    """Knows one schema, by an id: two schemas that differ in defaults only have one fingerprint."""

    def __init__(self, contract):
        super().__init__()
        self.contract = contract

    def by_id(self, schema_id):
        return self.contract


def read(writer, reader, rows):
    messages = Codec(writer, KnownSchemas(), Confluent(1).prefix).encode_rows(rows)
    return Codec(reader, Registry(writer)).decode(messages)


@settings(max_examples=300)
@given(records("Tide"), records("Tide"))
def test_it_agrees_with_the_avro_library_where_there_are_no_aliases_and_logical_types(old, new):
    old, new = Contract.parse(old[0]), Contract.parse(new[0])
    checker = avro.compatibility.ReaderWriterCompatibilityChecker()
    theirs = checker.get_compatibility(avro.schema.parse(new.text), avro.schema.parse(old.text)).compatibility
    ours = check(old, new, "backward")
    assert (theirs is avro.compatibility.SchemaCompatibilityType.compatible) == (not ours), ours
    assert [f.direction for f in ours] == ["backward"] * len(ours)
    assert [(f.field, f.rule) for f in ours] == [(f.field, f.rule) for f in check(new, old, "forward")]


@settings(max_examples=300)
@given(st.data(), records("Tide"), records("Tide"))
def test_what_it_lets_pass_can_be_read(data, old, new):
    writer, reader = Contract.parse(old[0]), Contract.parse(new[0])
    rows = data.draw(st.lists(old[1], min_size=1, max_size=3))
    decoded = read(writer, reader, rows)
    if not check(writer, reader, "backward"):
        assert not decoded.bad
    if len(decoded.rows) == len(rows):
        assert decoded.table.schema == reader.arrow
        decoded.table.validate(full=True)


@st.composite
def evolved(draw):
    """A record, a change of it that is compatible, and a strategy for its rows."""
    old, values = draw(records("Tide"))
    fields = []
    for field in old["fields"]:
        change = draw(st.sampled_from(["keep", "drop", "rename", "nullable", "promote"]))
        if change == "rename":
            field = {**field, "name": f"{field['name']}_new", "aliases": ["other", field["name"]]}
        if change == "nullable" and not isinstance(field["type"], list):
            field = {**field, "type": ["null", field["type"]]}
        if change == "promote" and field["type"] in ("int", "long", "float"):
            field = {**field, "type": "double"}
        fields += [field] if change != "drop" else []
    added = draw(st.sampled_from([{"type": "string", "default": "d"}, {"type": ["null", "int"], "default": None}]))
    new = {**old, "fields": draw(st.permutations([*fields, {"name": "added", **added}]))}
    return Contract.parse(old), Contract.parse(new), values


@settings(max_examples=200)
@given(st.data(), evolved())
def test_a_compatible_change_is_read_as_fastavro_reads_it(data, change):
    writer, reader, values = change
    assert check(writer, reader, "backward") == []
    rows = data.draw(st.lists(values, min_size=1, max_size=3))
    decoded = read(writer, reader, rows)
    assert decoded.rows.tolist() == list(range(len(rows)))
    again = Codec(reader, KnownSchemas(), prefix=b"").encode(decoded.table)
    for written, ours in zip(Codec(writer, KnownSchemas(), prefix=b"").encode_rows(rows), again, strict=True):
        theirs = fastavro.schemaless_reader(io.BytesIO(written), writer.schema, reader.schema)
        assert fastavro.schemaless_reader(io.BytesIO(ours), reader.schema) == theirs
