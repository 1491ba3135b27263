"""The Arrow type of every Avro type.

| Avro | Arrow |
| --- | --- |
| null, boolean | null, bool |
| int, long, float, double | int32, int64, float32, float64 |
| bytes, string, enum | binary, string, string |
| fixed(n) | fixed-size binary(n) |
| int `date` | date32 |
| int `time-millis`, long `time-micros` | time32[ms], time64[us] |
| long `timestamp-millis`, `-micros`, `-nanos` | timestamp[ms, us, ns] in UTC |
| long `local-timestamp-millis`, `-micros`, `-nanos` | timestamp[ms, us, ns] without a zone |
| bytes or fixed `decimal` (precision ≤ 38) | decimal128 |
| string `uuid` | string |
| array, map, record | list, map from string, struct |
| union of null and one type, in either order | that type, nullable |

Another logical type is an annotation that changes nothing, as the specification wants. Refused: other unions, types
that contain themselves, arrays whose items take no bytes (a message of ten bytes could declare 2^62 of them), and maps
to null.
"""

from dataclasses import dataclass

import pyarrow as pa

from tidemill.schemas.avsc import Node
from tidemill.schemas.errors import SchemaError

_PRIMITIVES = {
    "null": pa.null(),
    "boolean": pa.bool_(),
    "int": pa.int32(),
    "long": pa.int64(),
    "float": pa.float32(),
    "double": pa.float64(),
    "bytes": pa.binary(),
    "string": pa.string(),
}
_TEMPORAL = {
    ("int", "date"): pa.date32(),
    ("int", "time-millis"): pa.time32("ms"),
    ("long", "time-micros"): pa.time64("us"),
    ("long", "timestamp-millis"): pa.timestamp("ms", "UTC"),
    ("long", "timestamp-micros"): pa.timestamp("us", "UTC"),
    ("long", "timestamp-nanos"): pa.timestamp("ns", "UTC"),
    ("long", "local-timestamp-millis"): pa.timestamp("ms"),
    ("long", "local-timestamp-micros"): pa.timestamp("us"),
    ("long", "local-timestamp-nanos"): pa.timestamp("ns"),
}
_MOST_DIGITS = 38


@dataclass(frozen=True)
class Decimal128:
    """The digits of a decimal: in all, and after the point."""

    precision: int
    scale: int


def logical_type(node: Node) -> str | None:
    """The logical type that changes how a value is understood; None for an unknown or misplaced one."""
    name = node.props.get("logicalType")
    if (node.type, name) in _TEMPORAL or (node.type, name) == ("string", "uuid"):
        return str(name)
    return "decimal" if name == "decimal" and node.type in ("bytes", "fixed") else None


def decimal_of(node: Node) -> Decimal128:
    """Precision and scale of a decimal; raises SchemaError when they are none."""
    precision, scale = node.props.get("precision"), node.props.get("scale", 0)
    if not (type(precision) is int and 1 <= precision <= _MOST_DIGITS):
        raise SchemaError(f"a decimal needs a precision from 1 to {_MOST_DIGITS}; got {precision!r}")
    if not (type(scale) is int and 0 <= scale <= precision):
        raise SchemaError(f"a decimal needs a scale from 0 to its precision {precision}; got {scale!r}")
    return Decimal128(precision, scale)


def split_null(node: Node) -> tuple[Node, bool]:
    """The type without null, and whether null was there; raises SchemaError for another union."""
    if node.type != "union":
        return node, node.type == "null"
    others = [branch for branch in node.schemas if branch.type != "null"]
    if len(others) != 1 or len(node.schemas) != 2:
        listed = ", ".join(branch.type for branch in node.schemas)
        raise SchemaError(f"a column holds one type: expected a union of null and one other type; got [{listed}]")
    return others[0], True


def arrow_type(node: Node, within: frozenset[str] = frozenset()) -> tuple[pa.DataType, bool]:
    """The Arrow type of an Avro type, and whether it is nullable; raises SchemaError for what columns cannot hold."""
    node, nullable = split_null(node)
    return _arrow(node, within), nullable


def _arrow(node: Node, within: frozenset[str]) -> pa.DataType:
    logical = logical_type(node)
    if logical == "decimal":
        digits = decimal_of(node)
        return pa.decimal128(digits.precision, digits.scale)
    if logical is not None and logical != "uuid":
        return _TEMPORAL[node.type, logical]
    match node.type:
        case "enum":
            return pa.string()
        case "fixed":
            return pa.binary(node.size)
        case "array":
            if not least_width(node.items):
                raise SchemaError("the array's items take no bytes: a short message could declare any number of them")
            item, nullable = arrow_type(node.items, within)
            return pa.list_(pa.field("item", item, nullable))
        case "map":
            if node.values.type == "null":
                # A cast of such a map in Arrow (pyarrow 26) leaves fewer values than keys.
                raise SchemaError("a map whose values are all null says no more than an array of its keys; use that")
            value, nullable = arrow_type(node.values, within)
            return pa.map_(pa.string(), pa.field("value", value, nullable))
        case "record" | "error":
            if node.fullname in within:
                raise SchemaError(f"{node.fullname} contains itself: columns have a fixed depth")
            within |= {node.fullname}
            return pa.struct([pa.field(field.name, *arrow_type(field.type, within)) for field in node.fields])
    return _PRIMITIVES[node.type]


def least_width(node: Node, within: frozenset[str] = frozenset()) -> int:
    """The bytes that the shortest value of a type takes."""
    match node.type:
        case "null":
            return 0
        case "float":
            return 4
        case "double":
            return 8
        case "fixed":
            return int(node.size)
        case "record" | "error":
            if node.fullname in within:
                return 0
            within |= {node.fullname}
            return sum(least_width(field.type, within) for field in node.fields)
    return 1
