"""A partition's changelog, as far as it is still needed, in one local file.

    8 bytes   what this is, and in which format
    records   offset, timestamp, length of the key, length of the value (-1 for none): "<qqii", then both
    1 line    JSON: the topic, its identity, the partition, the offset up to which the file holds it, the records
    12 bytes  length of that line, and the CRC-32 of everything before: "<q", "<I"

A file is complete under its name or not there: it is written under another one, synced, and renamed. Whatever happens
to it later is found by the checksum before a record of it is used.
"""

import json
import os
import struct
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from tidemill.streams.ports import LogRecord

_MAGIC = b"TIDESNP1"
_RECORD = struct.Struct("<qqii")
_LENGTH, _CHECKSUM = struct.Struct("<q"), struct.Struct("<I")
_PIECE = 1 << 20
TEMPORARY = ".writing"


class Damaged(Exception):
    """The file is not what was written."""


@dataclass(frozen=True)
class Snapshot:
    """What a file holds: the records of a topic's partition that matter, up to an offset, which is not included."""

    topic: str
    identity: str
    partition: int
    offset: int
    records: int


def write(path: Path, topic: str, identity: str, partition: int, offset: int, records: Iterable[LogRecord]) -> Snapshot:
    """Replace the file by one with these records, in their order.

    Raises:
        OSError: it could not be written, such as on a full disk; what was there before is there still.

    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Should another process write it too, one of them fails, or the checksum tells.
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        with temporary.open("wb") as file:
            made = _write(file, topic, identity, partition, offset, records)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return made


def _write(
    file: BinaryIO, topic: str, identity: str, partition: int, offset: int, records: Iterable[LogRecord]
) -> Snapshot:
    checksum, count = 0, 0

    def put(*pieces: bytes) -> None:
        nonlocal checksum
        for piece in pieces:
            checksum = zlib.crc32(piece, checksum)
            file.write(piece)

    put(_MAGIC)
    for record in records:
        key, value = record.key or b"", record.value
        put(_RECORD.pack(record.offset, record.timestamp, len(key), -1 if value is None else len(value)), key)
        put(value or b"")
        count += 1
    made = Snapshot(topic, identity, partition, offset, count)
    line = json.dumps(asdict(made)).encode()
    put(line, _LENGTH.pack(len(line)))
    file.write(_CHECKSUM.pack(checksum))
    return made


def check(path: Path) -> Snapshot:
    """What the file holds, after reading all of it.

    Raises:
        Damaged: it was cut off, changed, or is no such file.
        OSError: it cannot be read.

    """
    size = path.stat().st_size
    end = size - _CHECKSUM.size
    if end < len(_MAGIC) + _LENGTH.size:
        raise Damaged(f"it has {size} bytes")
    checksum, left = 0, end
    with path.open("rb") as file:
        while left:
            piece = file.read(min(_PIECE, left))
            if not piece:
                raise Damaged("it became shorter while it was read")
            checksum, left = zlib.crc32(piece, checksum), left - len(piece)
        if checksum != _CHECKSUM.unpack(file.read())[0]:
            raise Damaged("its checksum is wrong: it was cut off, or a bit has changed")
        file.seek(0)
        if file.read(len(_MAGIC)) != _MAGIC:
            raise Damaged("it is of another format")
        file.seek(end - _LENGTH.size)
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        file.seek(end - _LENGTH.size - length)
        return Snapshot(**json.loads(file.read(length)))


def read(path: Path, snapshot: Snapshot) -> Iterator[LogRecord]:
    """The records of a file that was checked."""
    with path.open("rb") as file:
        file.seek(len(_MAGIC))
        for _ in range(snapshot.records):
            offset, timestamp, key_size, value_size = _RECORD.unpack(file.read(_RECORD.size))
            key = file.read(key_size)
            value = file.read(value_size) if value_size >= 0 else None
            yield LogRecord(snapshot.partition, offset, timestamp, key, value, [])
