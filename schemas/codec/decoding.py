"""Messages of one writer's schema to the reader's columns, each on its own."""

import struct
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from tidemill.schemas.codec.compiled import Decoding
from tidemill.schemas.codec.program import compile_program
from tidemill.schemas.codec.reading import Undecodable, Unresolvable
from tidemill.schemas.codec.resolution import plan
from tidemill.schemas.codec.verdict import BadMessage, Decoded, Reason
from tidemill.schemas.contract import Contract

_FAULTS = (UnicodeDecodeError, Undecodable, Unresolvable, IndexError, struct.error, RecursionError)


class Decoder:
    """Reads what one writer wrote as one reader wants it; raises SchemaError at once where that cannot be."""

    def __init__(self, writer: Contract, reader: Contract) -> None:
        self._plan = plan(writer.node, reader.node)
        self._arrow = reader.arrow
        self._program = compile_program(writer.node, reader.node, reader.arrow)

    def decode(self, rows: Sequence[int], payloads: Sequence[bytes], start: int) -> Decoded:
        """Read messages, given as their rows and their bytes; the datums start at byte `start`.

        A flat schema is read by the compiled loop, and only what that refuses value by value, which gives the reason.
        """
        if self._program is None:
            return self._interpret(zip(rows, payloads, strict=True), start)
        compiled = Decoding(self._program, self._arrow, payloads, start)
        accepted = np.asarray(rows, dtype=np.int64)[compiled.accepted]
        if len(accepted) == len(payloads):
            return Decoded(compiled.table(), accepted, ())
        kept = set(compiled.accepted.tolist())
        rest = self._interpret(((rows[i], payloads[i]) for i in range(len(payloads)) if i not in kept), start)
        if not len(rest.rows):
            return Decoded(compiled.table(), accepted, rest.bad)
        both = np.concatenate([accepted, rest.rows])
        order = np.argsort(both)
        table = pa.concat_tables([compiled.table(), rest.table]).take(pa.array(order)).combine_chunks()
        return Decoded(table, both[order], rest.bad)

    def _interpret(self, messages: Iterable[tuple[int, bytes]], start: int) -> Decoded:
        steps = self._plan.steps
        rows: list[int] = []
        records: list[list[Any]] = []
        bad: list[BadMessage] = []
        for row, data in messages:
            at = start
            name = ""
            values: list[Any] = []
            try:
                for name, read, wanted in steps:  # noqa: B007  (the fault's field)
                    value, at = read(data, at)
                    if wanted:
                        values.append(value)
            except _FAULTS as fault:
                reason, what = _verdict(fault, len(data))
                bad.append(BadMessage(row, reason, f"field {name!r} at byte {at}: {what}"))
                continue
            if at != len(data):
                bad.append(BadMessage(row, Reason.SURPLUS_BYTES, _surplus(at, len(data))))
                continue
            rows.append(row)
            records.append(values)
        return Decoded(self._table(records), np.array(rows, np.int64), tuple(bad))

    def _table(self, records: list[list[Any]]) -> pa.Table:
        columns = list(zip(*records, strict=True))
        arrays = []
        for field, place, default in zip(self._arrow, self._plan.sources, self._plan.defaults, strict=True):
            values = [default] * len(records) if place is None else columns[place] if records else []
            arrays.append(pa.array(values, field.type))
        return pa.Table.from_arrays(arrays, schema=self._arrow)


def _verdict(fault: Exception, size: int) -> tuple[Reason, str]:
    match fault:
        case UnicodeDecodeError():
            return Reason.INVALID_UTF8, f"the text is not UTF-8: {fault.reason} at its byte {fault.start}; send UTF-8"
        case Unresolvable():
            return Reason.INCOMPATIBLE_SCHEMA, f"{fault}; the reader's schema has no place for this value"
        case Undecodable():
            return Reason.UNDECODABLE, f"not a value of its type: {fault}"
        case RecursionError():
            return Reason.UNDECODABLE, "nested too deeply"
    return Reason.UNDECODABLE, f"the message ends within it, after {size} bytes"


def _surplus(stop: int, size: int) -> str:
    return (
        f"the last field ends at byte {stop}, but the message has {size}; "
        "it was cut wrongly, or written with another schema than it names"
    )
