"""How rows travel on internal topics: in blocks, columns after columns, with a note of how far their writer has come.

A block is one Arrow IPC stream with one record batch; the note is JSON in its schema's metadata. A commit costs a block
per partition that it writes to, however many rows there are. Nobody but a pipeline's workers reads or writes blocks, so
that their form is not a contract: but a worker of another version of the pipeline must be able to read those that are
under way. Columns are found by their names; those that a writer did not know are null.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.schemas.errors import TidemillError

MAX_BLOCK_BYTES = 512 * 1024
PARTITION = "@partition"
"""By row: the partition of its event."""
OFFSET = "@offset"
"""By row: the offset of its event."""
INPUT = "@input"
"""By row that is held back: the offset of the block that it came in. Not on the log."""
_NOTE = b"tidemill"


class MalformedBlock(TidemillError):
    """A message on an internal topic is not a block of this pipeline."""


@dataclass(frozen=True)
class Mark:
    """How far a partition of events has come.

    No later row of it has a smaller stream time, nor an offset below `next`. `idle` means that none is on its way.
    """

    stream_time: int
    next: int
    idle: bool = False


@dataclass(frozen=True)
class Block:
    """Rows, who made them, how far their partitions have come after them, and which hops they were sent to."""

    rows: pa.Table
    source: str
    marks: Mapping[int, Mark] = field(default_factory=dict)
    hops: tuple[str, ...] = ()

    def encode(self) -> list[bytes]:
        """As messages for one partition, in order; what is too large for one is cut, and the marks go with the last."""
        value = self.message()
        if len(value) <= MAX_BLOCK_BYTES or self.rows.num_rows <= 1:
            return [value]
        half = self.rows.num_rows // 2
        first = Block(self.rows.slice(0, half), self.source, {}, self.hops)
        rest = Block(self.rows.slice(half), self.source, self.marks, self.hops)
        return [*first.encode(), *rest.encode()]

    def message(self) -> bytes:
        """As one message, however large."""
        marks = {str(p): [m.stream_time, m.next, m.idle] for p, m in self.marks.items()}
        note = {"from": self.source, "marks": marks, "hops": list(self.hops)}
        schema = self.rows.schema.with_metadata({_NOTE: json.dumps(note).encode()})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            for batch in self.rows.combine_chunks().to_batches():
                writer.write_batch(batch)
        return bytes(sink.getvalue())

    @staticmethod
    def decode(value: bytes | None) -> "Block":
        """Raises MalformedBlock."""
        try:
            with pa.ipc.open_stream(value or b"") as reader:
                rows = reader.read_all()
            rows.validate(full=True)
            note: dict[str, Any] = json.loads(rows.schema.metadata[_NOTE])
            marks = {int(p): Mark(int(t), int(n), bool(idle)) for p, (t, n, idle) in note["marks"].items()}
            return Block(rows.replace_schema_metadata(), str(note["from"]), marks, tuple(note["hops"]))
        except (pa.ArrowException, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise MalformedBlock(
                f"expected a block of rows as this pipeline's workers write them, got something else ({error}); nobody"
                " else should write to this topic"
            ) from None


def conform(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with exactly these columns; raises MalformedBlock where that cannot be."""
    columns = []
    for wanted in schema:
        if wanted.name in rows.column_names:
            column = rows[wanted.name]
        else:
            column = pa.chunked_array([pa.nulls(rows.num_rows, wanted.type)])
        try:
            column = column.cast(wanted.type)
        except pa.ArrowException as error:
            raise MalformedBlock(
                f"column {wanted.name!r}: expected {wanted.type}, got {column.type} ({error})"
            ) from None
        if column.null_count and not wanted.nullable:
            raise MalformedBlock(
                f"column {wanted.name!r}: expected a value in every row, got {column.null_count} nulls"
            )
        columns.append(column)
    return pa.table(columns, schema=schema)


def ints(rows: pa.Table, name: str) -> NDArray[np.int64]:
    """A column of whole numbers."""
    made: NDArray[np.int64] = pc.cast(rows[name], pa.int64()).to_numpy()
    return made


def select(rows: pa.Table, keep: NDArray[np.bool_]) -> pa.Table:
    """The rows for which `keep` says so; all of them at no cost."""
    return rows if keep.all() else rows.filter(pa.array(keep))
