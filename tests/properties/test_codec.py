"""The codec against fastavro, and against itself one message at a time."""

import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import fastavro
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from tidemill.schemas.codec import Codec, Reason
from tidemill.schemas.contract import Contract
from tidemill.schemas.resolver import KnownSchemas

MICROSECOND = 1_000_000
FIRST = int(datetime(1900, 1, 1, tzinfo=UTC).timestamp()) * MICROSECOND
LAST = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp()) * MICROSECOND
TEXT = st.text("az é€😀\x00\n", max_size=8)
LEAVES = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=8),
    "string": TEXT,
}
LOGICAL = [
    ({"type": "int", "logicalType": "date"}, st.integers(-25_000, 80_000)),
    ({"type": "int", "logicalType": "time-millis"}, st.integers(0, 86_399_999)),
    ({"type": "long", "logicalType": "time-micros"}, st.integers(0, 86_399_999_999)),
    ({"type": "long", "logicalType": "timestamp-millis"}, st.integers(FIRST // 1000, LAST // 1000)),
    ({"type": "long", "logicalType": "timestamp-micros"}, st.integers(FIRST, LAST)),
    ({"type": "long", "logicalType": "local-timestamp-micros"}, st.integers(FIRST, LAST)),
    ({"type": "string", "logicalType": "uuid"}, st.uuids()),
]
DECIMALS = st.decimals(Decimal("-99999.99"), Decimal("99999.99"), places=2)


@st.composite
def typed(draw, name, depth=2):
    """A type that fits into a column, named types after `name`, and a strategy for its values."""
    if draw(st.booleans()) and depth:
        avro, values = draw(
            typed(name, depth - 1).filter(lambda pair: pair[0] != "null" and not isinstance(pair[0], list))
        )
        return draw(st.permutations(["null", avro])), st.none() | values
    kind = draw(
        st.sampled_from(["leaf", "logical", "decimal", "fixed", "enum", *(["array", "map", "record"] if depth else [])])
    )
    match kind:
        case "logical":
            return draw(st.sampled_from(LOGICAL))
        case "decimal":
            digits = {"logicalType": "decimal", "precision": 7, "scale": 2}
            return draw(
                st.sampled_from([{"type": "bytes"}, {"type": "fixed", "name": name, "size": 5}])
            ) | digits, DECIMALS
        case "fixed":
            size = draw(st.integers(0, 3))
            return {"type": "fixed", "name": name, "size": size}, st.binary(min_size=size, max_size=size)
        case "enum":
            symbols = draw(st.lists(st.sampled_from("ABCDE"), min_size=1, unique=True))
            return {"type": "enum", "name": name, "symbols": symbols}, st.sampled_from(symbols)
        case "array":
            item, values = draw(typed(name, depth - 1).filter(lambda pair: pair[0] != "null" and "size" not in pair[0]))
            return {"type": "array", "items": item}, st.lists(values, max_size=3)
        case "map":
            item, values = draw(typed(name, depth - 1).filter(lambda pair: pair[0] != "null"))
            return {"type": "map", "values": item}, st.dictionaries(TEXT, values, max_size=3)
        case "record":
            parts = {f"p{n}": draw(typed(f"{name}_{n}", depth - 1)) for n in range(draw(st.integers(1, 3)))}
            fields = [{"name": "always", "type": "int"}, *({"name": n, "type": avro} for n, (avro, _) in parts.items())]
            values = st.fixed_dictionaries({"always": LEAVES["int"], **{n: v for n, (_, v) in parts.items()}})
            return {"type": "record", "name": name, "fields": fields}, values
    leaf = draw(st.sampled_from(sorted(LEAVES)))
    return leaf, LEAVES[leaf]


@st.composite
def contract_and_rows(draw, rows=5):
    fields = {f"f{n}": draw(typed(f"T{n}")) for n in range(draw(st.integers(1, 5)))}
    declared = [{"name": name, "type": avro} for name, (avro, _) in fields.items()]
    contract = Contract.parse({"type": "record", "name": "sea.Tide", "fields": declared})
    one = st.fixed_dictionaries({name: values for name, (_, values) in fields.items()})
    return contract, draw(st.lists(one, min_size=1, max_size=rows))


def plain(value, arrow):
    """A value of a column as fastavro gives it."""
    if value is None:
        return None
    if pa.types.is_list(arrow):
        return [plain(item, arrow.value_type) for item in value]
    if pa.types.is_map(arrow):
        return {key: plain(item, arrow.item_type) for key, item in value}
    if pa.types.is_struct(arrow):
        return {field.name: plain(value[field.name], field.type) for field in arrow}
    return value


def rows_of(table):
    return [{field.name: plain(row[field.name], field.type) for field in table.schema} for row in table.to_pylist()]


def text_of_uuids(value):
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, dict):
        return {key: text_of_uuids(item) for key, item in value.items()}
    return [text_of_uuids(item) for item in value] if isinstance(value, list) else value


def bare(contract):
    return Codec(contract, KnownSchemas(), prefix=b"")


def theirs(data, writer, reader=None):
    return text_of_uuids(fastavro.schemaless_reader(io.BytesIO(data), writer, reader))


@given(contract_and_rows())
def test_what_is_written_is_read_by_both(case):
    contract, rows = case
    codec = Codec(contract, KnownSchemas())
    messages = codec.encode_rows(rows)
    decoded = codec.decode(messages)
    assert not decoded.bad
    assert decoded.table.schema == contract.arrow
    decoded.table.validate(full=True)
    assert codec.encode(decoded.table) == messages == codec.encode_rows(rows)
    data = bare(contract).encode_rows(rows)
    assert [prefix + datum for prefix, datum in zip([messages[0][:10]] * len(data), data, strict=True)] == messages
    assert rows_of(decoded.table) == [theirs(datum, contract.schema) for datum in data]


@given(contract_and_rows())
def test_what_fastavro_writes_is_read(case):
    contract, rows = case
    canonical = fastavro.parse_schema(json.loads(contract.canonical))
    for datum in bare(contract).encode_rows(rows):
        out = io.BytesIO()
        fastavro.schemaless_writer(out, canonical, fastavro.schemaless_reader(io.BytesIO(datum), canonical))
        assert out.getvalue() == datum


@given(contract_and_rows(rows=3))
def test_every_truncation_is_refused_alone(case):
    contract, rows = case
    codec = Codec(contract, KnownSchemas())
    messages = codec.encode_rows(rows)
    whole = codec.decode(messages).table
    for size in range(len(messages[0])):
        decoded = codec.decode([*messages, messages[0][:size], *messages])
        assert [bad.row for bad in decoded.bad] == [len(messages)]
        assert decoded.table.equals(pa.concat_tables([whole, whole]).combine_chunks())


@st.composite
def spoilt(draw, messages):
    """A message with bytes changed, put in, cut out, or taken from another."""
    message = bytearray(draw(st.sampled_from(messages)))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(message)))
        stop = draw(st.integers(start, min(len(message), start + 3)))
        message[start:stop] = draw(
            st.binary(max_size=3) | st.sampled_from([b"\xff", b"\x80", b"\x00", b"\x02", b"\xfe\xff\xff\xff\x0f"])
        )
    return bytes(message) + draw(st.sampled_from([b"", messages[0][10:]]))


@given(st.data())
def test_a_batch_is_its_messages_one_by_one(data):
    contract, rows = data.draw(contract_and_rows(rows=3))
    codec = Codec(contract, KnownSchemas())
    messages = codec.encode_rows(rows)
    broken = data.draw(st.lists(spoilt(messages) | st.binary(max_size=30) | st.none(), min_size=1, max_size=5))
    batch = data.draw(st.permutations([*messages, *broken]))
    together = codec.decode(batch)
    alone = [codec.decode([message]) for message in batch]
    assert together.rows.tolist() == [row for row, one in enumerate(alone) if len(one.rows)]
    assert [(b.row, b.reason, b.message) for b in together.bad] == [
        (row, b.reason, b.message) for row, one in enumerate(alone) for b in one.bad
    ]
    assert sorted([*together.rows.tolist(), *(b.row for b in together.bad)]) == list(range(len(batch)))
    assert codec.encode(together.table) == [datum for one in alone for datum in codec.encode(one.table)]
    assert {b.reason for b in together.bad} <= set(Reason)


@given(st.data())
def test_a_spoilt_message_that_is_read_is_read_as_fastavro_does(data):
    contract, rows = data.draw(contract_and_rows(rows=1))
    codec = Codec(contract, KnownSchemas())
    message = data.draw(spoilt(codec.encode_rows(rows)))
    decoded = codec.decode([message])
    if len(decoded.rows) and "decimal" not in contract.text:
        canonical = json.loads(contract.canonical)
        read = fastavro.schemaless_reader(io.BytesIO(message[10:]), canonical)
        out = io.BytesIO()
        fastavro.schemaless_writer(out, canonical, read)
        assert codec.encode(decoded.table)[0][10:] == out.getvalue()
