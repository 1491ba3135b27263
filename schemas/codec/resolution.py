"""From a writer's schema and the reader's to the functions that read a message into the reader's columns.

Where a type of the writer's union, or a symbol of its enum, has no place in the reader's schema, only the messages that
hold it are refused, as the specification has it. A value becomes what `pa.array` takes for the reader's Arrow type,
with dates and times as their integers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

from tidemill.schemas.avsc import Node
from tidemill.schemas.codec import reading
from tidemill.schemas.codec.reading import Read, Undecodable, Unresolvable
from tidemill.schemas.columns import Decimal128, decimal_of, least_width, logical_type
from tidemill.schemas.defaults import default_value
from tidemill.schemas.errors import SchemaError, nearest
from tidemill.schemas.matching import describe, field_of, mismatch

_DAY = {"time-millis": 86_400_000, "time-micros": 86_400_000_000}
_DIGITS = Context(prec=38)


@dataclass(frozen=True)
class Plan:
    """How to read a writer's record into the reader's.

    `steps` are the writer's fields in order, each with its name and whether the reader wants it. `sources` has, per
    field of the reader, its place among the wanted steps, or None where the value in `defaults` stands for all.
    """

    steps: tuple[tuple[str, Read, bool], ...]
    sources: tuple[int | None, ...]
    defaults: tuple[Any, ...]


def plan(writer: Node, reader: Node) -> Plan:
    """How to read what `writer` wrote as `reader`; raises SchemaError that names the field where that cannot be."""
    fault = mismatch(writer, reader)
    if fault:
        raise SchemaError(fault.message)
    origins = [field_of(writer, field) for field in reader.fields]
    reads: dict[str, Read] = {}
    defaults: list[Any] = []
    for origin, field in zip(origins, reader.fields, strict=True):
        try:
            if origin is None:
                defaults.append(_default(field))
                continue
            if origin.name in reads:
                raise SchemaError(
                    f"the written field {origin.name!r} is taken by another field too; change the aliases"
                )
            reads[origin.name] = resolve(origin.type, field.type)
            defaults.append(None)
        except SchemaError as problem:
            raise SchemaError(f"field {field.name!r}: {problem}") from None
    skips: dict[str, Read] = {}
    steps = [(f.name, reads.get(f.name) or skip(f.type, skips), f.name in reads) for f in writer.fields]
    places = {name: place for place, name in enumerate(name for name, _, wanted in steps if wanted)}
    sources = tuple(places[origin.name] if origin is not None else None for origin in origins)
    return Plan(tuple(steps), sources, tuple(defaults))


def resolve(writer: Node, reader: Node) -> Read:
    """How to read a value that was written as one type as another; raises SchemaError where none can be."""
    if writer.type == "union":
        branches = [_branch(branch, reader) for branch in writer.schemas]
        kinds = [branch.type for branch in writer.schemas]
        return (
            reading.optional(branches, kinds.index("null"))
            if len(kinds) == 2 and "null" in kinds
            else reading.union(branches)
        )
    if reader.type == "union":
        for branch in reader.schemas:
            if mismatch(writer, branch) is None:
                return resolve(writer, branch)
        raise SchemaError(f"written as {describe(writer)}, read as {describe(reader)}")
    fault = mismatch(writer, reader)
    if fault:
        raise SchemaError(fault.message)
    match writer.type:
        case "enum":
            return _enum(writer, reader)
        case "array":
            _bounded(writer)
            return reading.array(resolve(writer.items, reader.items), writer.items)
        case "map":
            return reading.mapping(resolve(writer.values, reader.values), writer.values)
        case "record" | "error":
            return _record(plan(writer, reader), [field.name for field in reader.fields])
    return _value(writer, reader)


def skip(node: Node, records: dict[str, Read]) -> Read:
    """How to pass over a value that the reader does not want: its bounds are checked, its text is not."""
    match node.type:
        case "union":
            return reading.union([skip(branch, records) for branch in node.schemas])
        case "enum":
            return reading.choice(list(node.symbols), "symbol")
        case "array":
            _bounded(node)
            return reading.array(skip(node.items, records), node.items)
        case "map":
            return reading.mapping(skip(node.values, records), node.values)
        case "record" | "error":
            if node.fullname not in records:
                # Known before its fields are, for a record that contains itself.
                fields: list[Read] = []
                records[node.fullname] = reading.sequence(fields)
                fields.extend(skip(field.type, records) for field in node.fields)
            return records[node.fullname]
        case "string":
            return reading.read_bytes
        case "fixed":
            return reading.fixed(node.size)
    return _PRIMITIVES[node.type]


_PRIMITIVES: dict[str, Read] = {
    "null": reading.read_null,
    "boolean": reading.read_boolean,
    "int": reading.read_int,
    "long": reading.read_long,
    "float": reading.read_float,
    "double": reading.read_double,
    "bytes": reading.read_bytes,
    "string": reading.read_string,
}


def _value(writer: Node, reader: Node) -> Read:
    logical = logical_type(reader)
    if logical == "decimal":
        read = reading.fixed(writer.size) if writer.type == "fixed" else reading.read_bytes
        return reading.converted(read, _decimal(decimal_of(reader)))
    if logical in _DAY:
        return reading.converted(_PRIMITIVES[writer.type], _time(logical))
    if writer.type == "fixed":
        return reading.fixed(writer.size)
    if reader.type in ("string", "bytes"):
        return _PRIMITIVES[reader.type]
    read = _PRIMITIVES[writer.type]
    return (
        reading.converted(read, float)
        if reader.type in ("float", "double") and writer.type in ("int", "long")
        else read
    )


def _branch(writer: Node, reader: Node) -> Read:
    try:
        return resolve(writer, reader)
    except SchemaError as problem:
        return _refusal(str(problem))


def _refusal(message: str) -> Read:
    def read(_data: bytes, _at: int) -> tuple[Any, int]:
        raise Unresolvable(message)

    return read


def _enum(writer: Node, reader: Node) -> Read:
    default = reader.props.get("default")
    known = [symbol if symbol in reader.symbols else default for symbol in writer.symbols]
    if None not in known:
        return reading.choice(known, "symbol")

    def check(symbol: str) -> str:
        if symbol not in reader.symbols:
            raise Unresolvable(f"the symbol {symbol!r} is not one of the reader's{nearest(symbol, reader.symbols)}")
        return symbol

    return reading.converted(reading.choice(list(writer.symbols), "symbol"), check)


def _record(inner: Plan, names: list[str]) -> Read:
    def read(data: bytes, at: int) -> tuple[dict[str, Any], int]:
        values = []
        for _, read_field, wanted in inner.steps:
            value, at = read_field(data, at)
            if wanted:
                values.append(value)
        taken = zip(names, inner.sources, inner.defaults, strict=True)
        return {name: default if place is None else values[place] for name, place, default in taken}, at

    return read


def _bounded(node: Node) -> None:
    if not least_width(node.items):
        raise SchemaError(f"an array of {describe(node.items)} takes no bytes per item: its length has no bound")


def _default(field: Any) -> Any:
    if not field.has_default:
        raise SchemaError("not written, and without a default; give it one")
    return stored_default(field.type, field.default)


def stored_default(node: Node, default: Any) -> Any:
    """A default in JSON as reading a value would have given it; raises SchemaError if it is none."""
    return _stored(node, default_value(node, default))


def _stored(node: Node, value: Any) -> Any:
    if value is None:
        return None
    match node.type:
        case "union":
            return _stored(next(branch for branch in node.schemas if branch.type != "null"), value)
        case "array":
            return [_stored(node.items, item) for item in value]
        case "map":
            return [(key, _stored(node.values, item)) for key, item in value.items()]
        case "record" | "error":
            return {field.name: _stored(field.type, value[field.name]) for field in node.fields}
    logical = logical_type(node)
    if logical == "decimal":
        return _decimal(decimal_of(node))(value)
    return _time(logical)(value) if logical in _DAY else value


def _decimal(digits: Decimal128) -> Callable[[bytes], Decimal]:
    limit = 10**digits.precision

    def convert(content: bytes) -> Decimal:
        unscaled = int.from_bytes(content, "big", signed=True)
        if not content or abs(unscaled) >= limit:
            raise Undecodable(f"a decimal of {digits.precision} digits; got {len(content)} bytes of another")
        return Decimal(unscaled).scaleb(-digits.scale, _DIGITS)

    return convert


def _time(logical: str) -> Callable[[int], int]:
    day = _DAY[logical]

    def convert(since_midnight: int) -> int:
        if not 0 <= since_midnight < day:
            raise Undecodable(f"a {logical} is from 0 to {day - 1}; got {since_midnight}")
        return since_midnight

    return convert
