"""The value that a field's default stands for.

Source: Avro specification, "Complex types, Records": bytes and fixed are written as strings of code points 0 to 255, a
union's default is of one of its types, and a record's may leave out fields that have defaults of their own.
"""

import math
from typing import Any

from tidemill.schemas.avsc import Node
from tidemill.schemas.errors import SchemaError

_RANGES = {"int": 1 << 31, "long": 1 << 63}


def default_value(node: Node, default: Any) -> Any:
    """The Python value of a default in JSON, without regard to logical types; raises SchemaError if it is none.

    Numbers, str, bool, None, bytes (for bytes and fixed), list, and dict (for maps and records).
    """
    match node.type:
        case "union":
            return _first_branch(node, default)
        case "null" if default is None:
            return None
        case "boolean" if isinstance(default, bool):
            return default
        case "int" | "long" if type(default) is int and -_RANGES[node.type] <= default < _RANGES[node.type]:
            return default
        case "float" | "double" if type(default) in (int, float) and math.isfinite(default):
            return float(default)
        case "string" if isinstance(default, str):
            return default
        case "enum" if default in node.symbols:
            return default
        case "bytes" | "fixed" if isinstance(default, str):
            return _bytes(node, default)
        case "array" if isinstance(default, list):
            return [default_value(node.items, item) for item in default]
        case "map" if isinstance(default, dict):
            return {key: default_value(node.values, item) for key, item in default.items()}
        case "record" | "error" if isinstance(default, dict):
            return _record(node, default)
    raise SchemaError(f"the default {default!r} is not a value of type {node.type}")


def _first_branch(node: Node, default: Any) -> Any:
    for branch in node.schemas:
        try:
            return default_value(branch, default)
        except SchemaError:
            continue
    listed = ", ".join(branch.type for branch in node.schemas)
    raise SchemaError(f"the default {default!r} is not a value of any of [{listed}]")


def _bytes(node: Node, default: str) -> bytes:
    try:
        value = default.encode("latin-1")
    except UnicodeEncodeError:
        raise SchemaError(f"the default {default!r} has code points above 255, which stand for no byte") from None
    if node.type == "fixed" and len(value) != node.size:
        raise SchemaError(f"the default {default!r} has {len(value)} bytes; the type has {node.size}")
    return value


def _record(node: Node, default: dict[str, Any]) -> dict[str, Any]:
    value = {}
    for field in node.fields:
        if field.name in default:
            value[field.name] = default_value(field.type, default[field.name])
        elif field.has_default:
            value[field.name] = default_value(field.type, field.default)
        else:
            raise SchemaError(f"the default {default!r} lacks the field {field.name!r}")
    return value
