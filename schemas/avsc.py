"""Avro schema text to the `avro` library's tree, with errors that say where.

The library checks types and references; it leaves field names, symbols and the place of an error to its callers.
"""

import json
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import avro.errors
import avro.name
import avro.schema

from tidemill.schemas.errors import SchemaError

Node = Any
"""A type in the `avro` library's tree; a named type is one object wherever it is referred to."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MOST_TYPES = 10_000
"""Types that refer twice to types that refer twice … would grow without bound."""
_REFUSALS = (avro.errors.AvroException, TypeError, ValueError, KeyError, AttributeError)


def read(source: str | Mapping[str, Any], where: str) -> dict[str, Any]:
    """The JSON object of a record schema; raises SchemaError with the position where it is not one."""
    try:
        schema = json.loads(source) if isinstance(source, str) else json.loads(json.dumps(source))
    except json.JSONDecodeError as fault:
        raise SchemaError(f"{where}, line {fault.lineno} column {fault.colno}: not JSON: {fault.msg}") from None
    except RecursionError:
        raise SchemaError(f"{where}: nested too deeply to be an Avro schema") from None
    except TypeError as fault:
        raise SchemaError(f"{where}: not JSON: {fault}") from None
    if not isinstance(schema, dict) or schema.get("type") != "record":
        got = schema.get("type") if isinstance(schema, dict) else schema
        raise SchemaError(
            f'{where}: expected an Avro record, {{"type": "record", "name": ..., "fields": [...]}}; got {got!r}'
        )
    return schema


def parse(schema: dict[str, Any], where: str, text: str = "") -> Node:
    """The tree of a record schema; raises SchemaError that names the field and, with the `text`, its line."""
    try:
        node = _make(schema)
    except RecursionError:
        raise SchemaError(f"{where}: nested too deeply to be an Avro schema") from None
    except _REFUSALS as fault:
        name = _culprit(schema)
        raise SchemaError(f"{place(where, name, text)}: not an Avro schema: {fault}") from None
    if _size(node, {}) > _MOST_TYPES:
        raise SchemaError(f"{where}: holds more than {_MOST_TYPES} types once its references are written out")
    for path, name in _names(node, "", set()):
        if not _NAME.fullmatch(name):
            raise SchemaError(
                f"{place(where, path, text)}: {name!r} is not an Avro name: "
                "expected letters, digits and underscores, not starting with a digit"
            )
    return node


def place(where: str, path: str | None, text: str = "") -> str:
    r"""`where`, the line on which the field of a dotted `path` is declared if the text tells, and the field.

    >>> place("a.avsc", "x", '{"fields": [\n{"name": "x", "type": "int"}]}')
    "a.avsc, line 2, field 'x'"
    """
    if not path:
        return where
    found = re.search(rf'"name"\s*:\s*{re.escape(json.dumps(path.rsplit(".", 1)[-1]))}', text)
    line = f", line {text.count(chr(10), 0, found.start()) + 1}" if found else ""
    return f"{where}{line}, field {path!r}"


def full_aliases(node: Node) -> set[str]:
    """The full names of a named type's aliases; one without a dot is in the type's own namespace."""
    space = node.fullname.rpartition(".")[0]
    aliases = node.props.get("aliases") or ()
    return {alias if "." in alias or not space else f"{space}.{alias}" for alias in aliases}


def _make(schema: dict[str, Any]) -> Node:
    with warnings.catch_warnings():
        # A logical type that the library does not know is an annotation that it ignores, as the specification wants.
        warnings.simplefilter("ignore", avro.errors.AvroWarning)
        return avro.schema.make_avsc_object(schema, avro.name.Names())


def _culprit(schema: dict[str, Any]) -> str | None:
    """The first field without which the fields before it still make a record."""
    fields = schema.get("fields")
    if not isinstance(fields, list):
        return None
    for count in range(len(fields) + 1):
        try:
            _make({**schema, "fields": fields[:count]})
        except _REFUSALS:
            last = fields[count - 1] if count else None
            return str(last.get("name", count - 1)) if isinstance(last, dict) else None
    return None


def _names(node: Node, path: str, seen: set[int]) -> Iterator[tuple[str, str]]:
    """Every field name and enum symbol, with the dotted path where it stands first."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if node.type in ("record", "error"):
        for field in node.fields:
            inner = f"{path}.{field.name}" if path else field.name
            yield inner, field.name
            yield from _names(field.type, inner, seen)
    elif node.type == "enum":
        yield from ((path, symbol) for symbol in node.symbols)
    else:
        for part in _parts(node):
            yield from _names(part, path, seen)


def _size(node: Node, sizes: dict[int, int]) -> int:
    """How many types a type holds once every reference is written out; a type within itself counts once."""
    if id(node) not in sizes:
        sizes[id(node)] = 1
        sizes[id(node)] += sum(_size(part, sizes) for part in _parts(node))
    return sizes[id(node)]


def _parts(node: Node) -> list[Node]:
    match node.type:
        case "record" | "error":
            return [field.type for field in node.fields]
        case "union":
            return list(node.schemas)
        case "array":
            return [node.items]
        case "map":
            return [node.values]
    return []
