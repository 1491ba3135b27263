"""Messages of one topic to the reader's columns, whoever wrote them; and columns to messages."""

from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any

import numpy as np
import pyarrow as pa

from tidemill.schemas import framing
from tidemill.schemas.codec.decoding import Decoder
from tidemill.schemas.codec.encoding import Encoder
from tidemill.schemas.codec.rows import to_columns
from tidemill.schemas.codec.verdict import BadMessage, Decoded, Reason
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import SchemaError
from tidemill.schemas.framing import Frame, FrameKind
from tidemill.schemas.resolver import SchemaSource

Headers = Sequence[tuple[str, bytes | None]]


class Codec:
    """Reads and writes the messages of one contract.

    `schemas` finds what others wrote with. `prefix` stands before every datum that is written (`framing.SingleObject`
    and `framing.Confluent` make one); without it, the reader's single-object encoding does.

    Raises SchemaError if the contract does not fit into columns.

    >>> from tidemill.schemas.resolver import KnownSchemas
    >>> tide = Contract.parse({"type": "record", "name": "Tide", "fields": [{"name": "height", "type": "double"}]})
    >>> codec = Codec(tide, KnownSchemas())
    >>> good = codec.encode_rows([{"height": 2.5}])[0]
    >>> decoded = codec.decode([good[:-1], good])
    >>> decoded.table.to_pylist(), decoded.rows.tolist()
    ([{'height': 2.5}], [1])
    >>> print(decoded.bad[0].reason, decoded.bad[0].message)
    undecodable field 'height' at byte 10: the message ends within it, after 17 bytes
    """

    def __init__(self, reader: Contract, schemas: SchemaSource, prefix: bytes | None = None) -> None:
        self._reader = reader
        self._schemas = schemas
        self._marker = framing.SingleObject(reader.fingerprint).prefix
        self._prefix = self._marker if prefix is None else prefix
        self._encoder = Encoder(reader)
        own = self._own = Frame(
            FrameKind.FINGERPRINT, reader.fingerprint, len(framing.SingleObject(reader.fingerprint).prefix)
        )
        self._decoders: dict[Frame, Decoder] = {own: Decoder(reader, reader)}

    def decode(self, values: Sequence[bytes | None], headers: Sequence[Headers | None] | None = None) -> Decoded:
        """Read a batch of messages, of any mix of writers.

        No message raises, and none has an effect on how another is read. A source of schemas that cannot be asked does
        raise (StreamError). NaN, infinities and any time are passed on: whether they are wanted is for checks to say.
        """
        bad: list[BadMessage] = []
        # Most batches are of one schema, the reader's own: those messages are told by one comparison each.
        own, marker = self._own, self._marker
        rows = _beginning_with(marker, values)
        if headers is not None and any(headers):
            rows = [i for i in rows if not _names_schema(headers[i])]
        groups: dict[Frame, tuple[list[int], list[bytes]]] = {}
        if len(rows):
            payloads = values if len(rows) == len(values) else [values[i] for i in rows]
            groups[own] = (rows, payloads)  # type: ignore[assignment]
        if len(rows) != len(values):
            self._group(values, headers, set(rows), groups, bad)
        parts = []
        for frame, (places, payloads) in groups.items():
            decoder = self._decoder(frame)
            if isinstance(decoder, Decoder):
                parts.append(decoder.decode(places, payloads, frame.start))
            else:
                bad.extend(BadMessage(row, *decoder) for row in places)
        return self._merge(parts, bad)

    def _group(
        self,
        values: Sequence[bytes | None],
        headers: Sequence[Headers | None] | None,
        known: set[int],
        groups: dict[Frame, tuple[list[int], list[bytes]]],
        bad: list[BadMessage],
    ) -> None:
        """Sort the messages that are not `known` by the schema that they name."""
        for row, value in enumerate(values):
            if row in known:
                continue
            if not value:
                bad.append(BadMessage(row, Reason.EMPTY_VALUE, "the message has no value; send an event, or nothing"))
                continue
            given = headers[row] if headers is not None else None
            frame = framing.parse(value, given)
            if frame is None:
                bad.append(BadMessage(row, Reason.UNKNOWN_FRAMING, _unframed(value, given)))
                continue
            places, payloads = groups.setdefault(frame, ([], []))
            places.append(row)
            payloads.append(value)

    def encode(self, table: pa.Table) -> list[bytes]:
        """Write one message per row: the same bytes for the same row, always.

        Columns are found by name and may stand in any order; their types may differ from the contract's where nothing
        is lost by a cast. Raises EncodeError that names the row and the field, what was expected and what came.
        """
        return self._encoder.encode(table, self._prefix)

    def encode_rows(self, rows: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Write one message per mapping of field name to Python value, checked against the contract.

        A field that is left out gets its default, or null if it is nullable. Timestamps are given as datetimes with a
        zone, ISO 8601 text with one, or integers in the unit of the schema. Raises EncodeError like `encode`.
        """
        return self.encode(to_columns(self._reader, rows))

    def _decoder(self, frame: Frame) -> Decoder | tuple[Reason, str]:
        found = self._decoders.get(frame)
        if found is not None:
            return found
        try:
            writer = self._find(frame)
            if writer is None:
                return Reason.UNKNOWN_SCHEMA, _unknown(frame)
            decoder = self._decoders[frame] = Decoder(writer, self._reader)
        except SchemaError as problem:
            return Reason.INCOMPATIBLE_SCHEMA, f"{frame} cannot be read as {self._reader.name}: {problem}"
        return decoder

    def _find(self, frame: Frame) -> Contract | None:
        match frame.schema_id:
            case int(schema_id):
                return self._schemas.by_id(schema_id)
            case bytes(name) if frame.kind is FrameKind.GUID:
                return self._schemas.by_guid(name)
            case bytes(name):
                return self._schemas.by_fingerprint(name)

    def _merge(self, parts: list[Decoded], bad: list[BadMessage]) -> Decoded:
        for part in parts:
            bad.extend(part.bad)
        bad.sort(key=lambda message: message.row)
        if len(parts) == 1:
            return Decoded(parts[0].table, parts[0].rows, tuple(bad))
        if not parts:
            return Decoded(self._reader.arrow.empty_table(), np.array([], np.int64), tuple(bad))
        rows = np.concatenate([part.rows for part in parts])
        order = np.argsort(rows)
        table = pa.concat_tables([part.table for part in parts]).take(pa.array(order)).combine_chunks()
        return Decoded(table, rows[order], tuple(bad))


def _beginning_with(marker: bytes, values: Sequence[bytes | None]) -> Sequence[int]:
    """The rows of the messages that begin so; most often that is all of them, which is told without a Python loop."""
    if None not in values and all(map(bytes.startswith, values, repeat(marker))):  # type: ignore[arg-type]
        return range(len(values))
    return [row for row, value in enumerate(values) if value is not None and value.startswith(marker)]


def _names_schema(headers: Headers | None) -> bool:
    return any(name == framing.VALUE_SCHEMA_ID for name, _ in headers or ())


def _unframed(value: bytes, headers: Headers | None) -> str:
    for name, content in headers or ():
        if name == framing.VALUE_SCHEMA_ID:
            return f"the header {name} holds neither an id nor a GUID: {(content or b'')[:20].hex(' ')}"
    hint = "; this looks like JSON" if value[:1] in (b"{", b"[") else ""
    return (
        "expected Avro single-object encoding (c3 01 and 8 bytes of fingerprint) or Confluent framing "
        f"(00 and 4 bytes of schema id); got {len(value)} bytes that begin with {value[:10].hex(' ')}{hint}"
    )


def _unknown(frame: Frame) -> str:
    if frame.kind is FrameKind.FINGERPRINT:
        return f"no schema is published under the {frame}; publish the producer's schema, or send with the contract's"
    return f"no schema registry knows the {frame}; configure the registry that the producer uses"
