"""Parsing Canonical Form and fingerprint: what a schema means for the bytes, and its name on the wire.

Source: Avro specification, "Parsing Canonical Form for Schemas" and "Schema Fingerprints". Written out here because
the `avro` library (1.12) leaves a primitive with properties as an object (`{"type":"long"}` where the specification and
Java have `"long"`), repeats the definition of a fixed, and keeps field properties that are called like a reserved word:
a schema with a logical type would get a fingerprint that no Java program finds.
"""

import json
from typing import Any

from tidemill.schemas.avsc import Node

_EMPTY = 0xC15D213AA4D7A795


def canonical_form(node: Node) -> str:
    """The Parsing Canonical Form: full names, no white space, only what decides how bytes are read."""
    return json.dumps(_canonical(node, set()), separators=(",", ":"), ensure_ascii=False)


def fingerprint(canonical: str) -> bytes:
    """CRC-64-AVRO of a canonical form: 8 bytes, little-endian as in the single-object encoding.

    >>> fingerprint('"int"').hex()
    '8f5c393f1ad57572'
    """
    crc = _EMPTY
    for byte in canonical.encode():
        crc = (crc >> 8) ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc.to_bytes(8, "little")


def _canonical(node: Node, seen: set[str]) -> Any:
    match node.type:
        case "union":
            return [_canonical(branch, seen) for branch in node.schemas]
        case "array":
            return {"type": "array", "items": _canonical(node.items, seen)}
        case "map":
            return {"type": "map", "values": _canonical(node.values, seen)}
        case "enum" | "fixed" | "record" | "error":
            return _named(node, seen)
    return node.type


def _named(node: Node, seen: set[str]) -> Any:
    if node.fullname in seen:
        return node.fullname
    seen.add(node.fullname)
    match node.type:
        case "enum":
            return {"name": node.fullname, "type": "enum", "symbols": list(node.symbols)}
        case "fixed":
            return {"name": node.fullname, "type": "fixed", "size": node.size}
    fields = [{"name": field.name, "type": _canonical(field.type, seen)} for field in node.fields]
    return {"name": node.fullname, "type": "record", "fields": fields}


def _row(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (_EMPTY & -(byte & 1))
    return byte


_TABLE = tuple(_row(byte) for byte in range(256))
