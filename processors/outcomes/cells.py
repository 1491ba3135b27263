"""Rows of a schema by slot: what waits for labels, by the million.

A number, a time or a truth value is a cell, text is the number of its word in a dictionary. Every value comes back bit
for bit.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.growth import grown
from tidemill.processors.key_index import KeyIndex
from tidemill.processors.outcomes.pieces import Pieces

_BITS = 8


class Words:
    """A dictionary of text: each word's number, while rows hold it."""

    def __init__(self) -> None:
        self._index = KeyIndex()
        self._uses: NDArray[np.int64] = np.zeros(0, np.int64)

    def put(self, column: pa.Array) -> NDArray[np.int64]:
        """The numbers of the words, 0 for null; each counts as a use."""
        encoded = column.dictionary_encode()
        numbers = self._index.find(encoded.dictionary)
        if self._index.used > len(self._uses):
            self._uses = grown(self._uses, self._index.used, 0)
        indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        used = indices >= 0
        self._uses[numbers] += np.bincount(indices[used], minlength=len(numbers))
        return np.where(used, numbers[indices] if len(numbers) else 0, 0)

    def take(self, numbers: NDArray[np.int64], valid: NDArray[np.bool_]) -> pa.Array:
        """The words, null where not `valid`."""
        distinct, where = np.unique(numbers[valid], return_inverse=True)
        indices = np.zeros(len(numbers), np.int32)
        indices[valid] = where
        words = self._index.take(distinct)
        return pa.DictionaryArray.from_arrays(pa.array(indices, mask=~valid), words).cast(pa.string())

    def release(self, numbers: NDArray[np.int64]) -> None:
        """One use less of each; words that nobody uses are forgotten."""
        distinct, counts = np.unique(numbers, return_counts=True)
        self._uses[distinct] -= counts
        unused = distinct[self._uses[distinct] == 0]
        if len(unused):
            self._index.free(unused)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has reserved."""
        return self._index.nbytes + self._uses.nbytes


class CellRows:
    """Rows of a schema by slot. Columns are numbers, booleans, dates, timestamps and text; whole numbers stay exact.

    >>> rows = CellRows(pa.schema([("delay", pa.float64()), ("carrier", pa.string())]))
    >>> rows.put(np.array([7, 2]), pa.table({"delay": [1.5, None], "carrier": ["AA", "UA"]}))
    >>> rows.take(np.array([2, 7, 2])).to_pydict()
    {'delay': [None, 1.5, None], 'carrier': ['UA', 'AA', 'UA']}
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        self._words = {i: Words() for i, field in enumerate(schema) if _is_text(field.type)}
        # Behind the columns, a bit for each of them: whether it is null.
        nulls = ["u1"] * -(-len(schema) // _BITS)
        self._pieces = Pieces([*("f8" if pa.types.is_floating(f.type) else "i8" for f in schema), *nulls])

    def put(self, slots: NDArray[np.int64], table: pa.Table) -> None:
        """Write rows into slots that are empty; each slot once."""
        if not len(slots):
            return
        missing: NDArray[np.bool_] = np.zeros((len(slots), len(self.schema)), np.bool_)
        cells: list[NDArray[np.generic]] = []
        for i, field in enumerate(self.schema):
            column = table[field.name].combine_chunks()
            if column.null_count:
                missing[:, i] = column.is_null().to_numpy(zero_copy_only=False)
            cells.append(self._words[i].put(column) if i in self._words else _to_cells(column))
        self._pieces.put(slots, [*cells, *np.packbits(missing, axis=1, bitorder="little").T])

    def take(self, slots: NDArray[np.int64]) -> pa.Table:
        """The rows in these slots, in the order given."""
        cells = self._pieces.take(slots)
        return pa.table([self._column(cells, i) for i in range(len(self.schema))], schema=self.schema)

    def number(self, slots: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        """The cells of one column of whole numbers."""
        return self._pieces.column(slots, self.schema.get_field_index(name))

    def clear(self, slots: NDArray[np.int64]) -> None:
        """Empty the slots for other rows."""
        if self._words and len(slots):
            cells = self._pieces.take(slots)
            for i, words in self._words.items():
                words.release(cells[str(i)][self._valid(cells, i)].astype(np.int64))

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has reserved."""
        return self._pieces.nbytes + sum(words.nbytes for words in self._words.values())

    def _valid(self, cells: NDArray[np.void], i: int) -> NDArray[np.bool_]:
        return np.asarray((cells[str(len(self.schema) + i // _BITS)] >> (i % _BITS)) & 1 == 0)

    def _column(self, cells: NDArray[np.void], i: int) -> pa.Array:
        valid, kind = self._valid(cells, i), self.schema.field(i).type
        if pa.types.is_floating(kind):
            return pa.array(np.ascontiguousarray(cells[str(i)]), mask=_mask(valid)).cast(kind)
        column = cells[str(i)].astype(np.int64)
        if i in self._words:
            return self._words[i].take(column, valid)
        if pa.types.is_boolean(kind):
            return pa.array(column != 0, mask=_mask(valid))
        if pa.types.is_date32(kind):
            return pa.array(column.astype(np.int32), mask=_mask(valid)).cast(kind)
        return pa.array(column, mask=_mask(valid)).cast(kind)


def _mask(valid: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    return None if valid.all() else ~valid


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind))


def _to_cells(column: pa.Array) -> NDArray[np.int64] | NDArray[np.float64]:
    kind = column.type
    if pa.types.is_floating(kind):
        numbers: NDArray[np.float64] = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
        return numbers
    whole = column.cast(pa.int32()) if pa.types.is_date32(kind) else column
    cells: NDArray[np.int64] = pc.fill_null(whole.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return cells
