"""How a message says which schema wrote it: the bytes and headers before an Avro datum.

| framing | value | header |
| --- | --- | --- |
| Avro single-object encoding | `C3 01`, 8 bytes of fingerprint, datum | |
| Confluent, in the value | `00`, 4 bytes of schema id (big-endian), datum | |
| Confluent, in a header | datum | `__value_schema_id`: `01` and 16 bytes of GUID, or `00` and 4 bytes of id |

Sources: Avro specification, "Single object encoding"; confluent-kafka-python, `SchemaId` and
`dual_schema_id_deserializer` (the header is looked at first).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

SINGLE_OBJECT_MARKER = b"\xc3\x01"
CONFLUENT_MAGIC = b"\x00"
GUID_MAGIC = b"\x01"
VALUE_SCHEMA_ID = "__value_schema_id"


class FrameKind(StrEnum):
    """What a frame names its schema by."""

    FINGERPRINT = "fingerprint"
    ID = "id"
    GUID = "guid"


class Frame(NamedTuple):
    """The writer's schema as a message names it, and where its datum starts.

    `schema_id` is an int for an id, and bytes for a fingerprint (8, little-endian) and a GUID (16).
    """

    kind: FrameKind
    schema_id: bytes | int
    start: int

    def __str__(self) -> str:
        return f"{self.kind} {self.schema_id.hex() if isinstance(self.schema_id, bytes) else self.schema_id}"


def parse(value: bytes, headers: Sequence[tuple[str, bytes | None]] | None = None) -> Frame | None:
    r"""Read the framing of one message; None when it is none that is known.

    A `__value_schema_id` header decides alone, as in Confluent's deserializers; the first one counts.

    >>> parse(bytes.fromhex("c301" "0102030405060708" "02"))
    Frame(kind=<FrameKind.FINGERPRINT: 'fingerprint'>, schema_id=b'\x01\x02\x03\x04\x05\x06\x07\x08', start=10)
    >>> str(parse(bytes.fromhex("00" "0000002a" "02")))
    'id 42'
    >>> parse(b"{}") is None
    True
    """
    for name, content in headers or ():
        if name == VALUE_SCHEMA_ID:
            return _parse_header(content or b"")
    if value[:2] == SINGLE_OBJECT_MARKER and len(value) >= 10:
        return Frame(FrameKind.FINGERPRINT, value[2:10], 10)
    if value[:1] == CONFLUENT_MAGIC and len(value) >= 5:
        return Frame(FrameKind.ID, int.from_bytes(value[1:5], "big"), 5)
    return None


def _parse_header(content: bytes) -> Frame | None:
    if content[:1] == GUID_MAGIC and len(content) == 17:
        return Frame(FrameKind.GUID, content[1:], 0)
    if content[:1] == CONFLUENT_MAGIC and len(content) == 5:
        return Frame(FrameKind.ID, int.from_bytes(content[1:], "big"), 0)
    return None


@dataclass(frozen=True)
class SingleObject:
    """Avro single-object encoding of a schema, by its 8-byte fingerprint."""

    fingerprint: bytes

    @property
    def prefix(self) -> bytes:
        """What stands before the datum."""
        return SINGLE_OBJECT_MARKER + self.fingerprint


@dataclass(frozen=True)
class Confluent:
    """Confluent wire format of a schema, by its id in the registry."""

    id: int

    @property
    def prefix(self) -> bytes:
        """What stands before the datum."""
        return CONFLUENT_MAGIC + self.id.to_bytes(4, "big")
