"""The rows of one partition's events, each with what the hops have made of it, in the order of the events."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.streams.hops.block import INPUT, OFFSET, Block, conform, ints, select


class Join:
    """Holds rows back until every hop that they were sent to has answered for them, and for those before them.

    `made` gives for each hop the columns that it makes, `nothing` what they are for rows that were never sent there: by
    a version of the pipeline that did not have them. Like `Merge`, it holds nothing that is not on its input from
    `next_input` on.
    """

    def __init__(
        self,
        rows: pa.Schema,
        made: Mapping[str, pa.Schema],
        nothing: Mapping[str, pa.Table],
        following: int,
        start: int,
    ) -> None:
        """`nothing` has one row per hop. `following` is the first event to release, `start` the input's offset."""
        self._schema = pa.schema([pa.field(OFFSET, pa.int64(), nullable=False), *rows])
        self._rows = self._schema.append(pa.field(INPUT, pa.int64())).empty_table()
        self._schemas = {hop: pa.schema([self._schema.field(0), *schema]) for hop, schema in made.items()}
        self._made = {hop: s.append(pa.field(INPUT, pa.int64())).empty_table() for hop, s in self._schemas.items()}
        self._nothing = nothing
        self.following = following
        """The offset of the first event that is not released yet."""
        self._arrived = self._marked = following
        self._taken = start
        self.ready = 0
        """How many more rows are whole than the last call released."""

    @property
    def next_input(self) -> int:
        """The first offset of the input whose rows are not all released."""
        held = [ints(table, INPUT) for table in (self._rows, *self._made.values()) if len(table)]
        return min((int(inputs.min()) for inputs in held), default=self._taken)

    def check(self, block: Block) -> Block:
        """The block with the columns that this pipeline knows; raises MalformedBlock."""
        schema = self._schemas.get(block.source, self._schema)
        return Block(conform(block.rows, schema), block.source, block.marks, block.hops)

    def take(self, blocks: Sequence[tuple[int, Block]], partition: int, most: int) -> pa.Table:
        """Take in checked blocks with their offsets; returns rows that are whole, with all columns, in order.

        At most so many: a row that was waited for may release very many others at once.
        """
        rows, made = [self._rows], {hop: [table] for hop, table in self._made.items()}
        for offset, block in blocks:
            if offset < self._taken:
                continue
            self._taken = offset + 1
            offsets = ints(block.rows, OFFSET)
            if block.source in made:
                made[block.source].append(_from(block.rows, offsets >= self.following, offset))
            elif block.marks or len(block.rows):
                new = _from(block.rows, offsets >= self._arrived, offset)
                rows.append(new)
                self._arrived = max(self._arrived, int(offsets.max()) + 1 if len(offsets) else 0)
                if partition in block.marks:
                    self._marked = max(self._marked, block.marks[partition].next)
                for hop in made.keys() - set(block.hops):
                    made[hop].append(self._unanswered(hop, new))
        together = {hop: pa.concat_tables(parts) for hop, parts in made.items()}
        return self._release(pa.concat_tables(rows), together, most)

    def _unanswered(self, hop: str, rows: pa.Table) -> pa.Table:
        nothing = self._nothing[hop].take(pa.array(np.zeros(len(rows), dtype=np.int64)))
        return pa.table([rows[OFFSET], *nothing.columns, rows[INPUT]], schema=self._made[hop].schema)

    def _release(self, rows: pa.Table, made: dict[str, pa.Table], most: int) -> pa.Table:
        wanted = ints(rows, OFFSET)
        whole = np.ones(len(wanted), dtype=bool)
        places = {}
        for hop, table in made.items():
            places[hop], found = find(wanted, ints(table, OFFSET))
            whole &= found
        complete = len(whole) if whole.all() else int(np.argmin(whole))
        count = min(complete, most)
        self.ready = complete - count
        out = rows.slice(0, count).drop_columns([INPUT])
        for hop, table in made.items():
            taken = table.take(pa.array(places[hop][:count])).drop_columns([OFFSET, INPUT])
            for name, column in zip(taken.column_names, taken.columns, strict=True):
                out = out.append_column(name, column)
        self._rows = rows.slice(count)
        self.following = int(wanted[count]) if count < len(wanted) else max(self._marked, self._arrived, self.following)
        self._made = {hop: select(table, ints(table, OFFSET) >= self.following) for hop, table in made.items()}
        return out


def _from(rows: pa.Table, keep: NDArray[np.bool_], offset: int) -> pa.Table:
    kept = select(rows, keep)
    return kept.append_column(INPUT, pa.array(np.full(len(kept), offset, dtype=np.int64)))


def find(wanted: NDArray[np.int64], known: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Where among `known` each of `wanted` is, and whether it is there at all."""
    order = np.argsort(known, kind="stable")
    places = np.minimum(np.searchsorted(known[order], wanted), max(len(known) - 1, 0))
    if not len(known):
        return places, np.zeros(len(wanted), dtype=bool)
    return order[places], known[order][places] == wanted
