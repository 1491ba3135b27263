"""When a writer's type can be read as the reader's, at one level.

Source: Avro specification, "Schema Resolution" and "Aliases", with two additions for logical types: where both sides
have one it must be the same (a time in milliseconds read as microseconds would be another time), and a decimal's
precision and scale too. The rules bear the names that Avro's Java checker and Confluent's schema registry give them.
"""

from enum import StrEnum
from typing import Any, NamedTuple

from tidemill.schemas.avsc import Node, full_aliases
from tidemill.schemas.columns import decimal_of, logical_type


class Rule(StrEnum):
    """What a change of schema breaks."""

    NAME_MISMATCH = "NAME_MISMATCH"
    FIXED_SIZE_MISMATCH = "FIXED_SIZE_MISMATCH"
    MISSING_ENUM_SYMBOLS = "MISSING_ENUM_SYMBOLS"
    READER_FIELD_MISSING_DEFAULT_VALUE = "READER_FIELD_MISSING_DEFAULT_VALUE"
    TYPE_MISMATCH = "TYPE_MISMATCH"
    MISSING_UNION_BRANCH = "MISSING_UNION_BRANCH"
    CONSTRAINT_TIGHTENED = "CONSTRAINT_TIGHTENED"


class Mismatch(NamedTuple):
    """Why a writer's type cannot be read as the reader's, and what helps."""

    rule: Rule
    message: str


PROMOTIONS = {
    ("int", "long"),
    ("int", "float"),
    ("int", "double"),
    ("long", "float"),
    ("long", "double"),
    ("float", "double"),
    ("string", "bytes"),
    ("bytes", "string"),
}


def mismatch(writer: Node, reader: Node) -> Mismatch | None:
    """Why `writer` cannot be read as `reader`; neither is a union, and parts of them are not looked at."""
    if not _same_type(writer, reader):
        how = f"written as {describe(writer)}, read as {describe(reader)}"
        return Mismatch(Rule.TYPE_MISMATCH, f"{how}; keep the type, or add a field under a new name")
    if reader.type in ("enum", "fixed", "record", "error") and not _same_name(writer, reader):
        how = f"written as {writer.fullname}, read as {reader.fullname}"
        return Mismatch(Rule.NAME_MISMATCH, f'{how}; add "aliases": ["{writer.fullname}"] to the reader')
    if reader.type == "fixed" and writer.size != reader.size:
        how = f"written with {writer.size} bytes, read with {reader.size}"
        return Mismatch(Rule.FIXED_SIZE_MISMATCH, f"{how}; add a field under a new name")
    return None


def missing_symbols(writer: Node, reader: Node) -> list[str]:
    """The symbols of the writer's enum that the reader's has not, and has no default for."""
    if reader.props.get("default") is not None:
        return []
    return [symbol for symbol in writer.symbols if symbol not in reader.symbols]


def field_of(writer: Node, reader_field: Any) -> Any | None:
    """The field of the writer's record that is read into a field of the reader's: by its name, or by an alias."""
    written = {field.name: field for field in writer.fields}
    for name in (reader_field.name, *(reader_field.props.get("aliases") or ())):
        if name in written:
            return written[name]
    return None


def describe(node: Node) -> str:
    """A type in a few words.

    >>> from tidemill.schemas import avsc
    >>> record = avsc.parse(avsc.read('''{"type": "record", "name": "r", "fields": [
    ...     {"name": "at", "type": ["null", {"type": "long", "logicalType": "timestamp-millis"}]}]}''', ""), "")
    >>> describe(record.fields[0].type)
    '[null, timestamp-millis (long)]'
    """
    if node.type == "union":
        return f"[{', '.join(describe(branch) for branch in node.schemas)}]"
    logical = logical_type(node)
    if logical == "decimal":
        return f"decimal({node.props.get('precision')}, {node.props.get('scale', 0)}) ({node.type})"
    if logical:
        return f"{logical} ({node.type})"
    return f"{node.type} {node.fullname}" if node.type in ("enum", "fixed", "record", "error") else str(node.type)


def _same_type(writer: Node, reader: Node) -> bool:
    promoted = (writer.type, reader.type) in PROMOTIONS
    if writer.type != reader.type and not promoted:
        return False
    was, now = logical_type(writer), logical_type(reader)
    if "decimal" in (was, now) and promoted:
        return False
    if was is None or now is None:
        return True
    return was == now and (was != "decimal" or decimal_of(writer) == decimal_of(reader))


def _same_name(writer: Node, reader: Node) -> bool:
    return bool(writer.name == reader.name or writer.fullname in full_aliases(reader))
