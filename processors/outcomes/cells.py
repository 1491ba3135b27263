"""Rows in eight bytes a value: what waits for labels, by the million.

A number, a time or a truth value is one cell, text is the number of its word in a dictionary. Rows lie in pieces that
are never copied as more come: a table that doubles by copying would need three times its memory at that moment. Memory
that nobody has written to is not taken from the machine.
"""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.growth import grown
from tidemill.processors.key_index import KeyIndex

_PIECE_BITS = 16
_PIECE = 1 << _PIECE_BITS
_BITS = 63


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
        self._pieces: dict[int, NDArray[np.int64]] = {}
        self._words = {i: Words() for i, field in enumerate(schema) if _is_text(field.type)}
        self._width = len(schema) + -(-len(schema) // _BITS)

    def put(self, slots: NDArray[np.int64], table: pa.Table) -> None:
        """Write rows into slots that are empty; each slot once."""
        if not len(slots):
            return
        cells: NDArray[np.int64] = np.zeros((len(slots), self._width), np.int64)
        for i, field in enumerate(self.schema):
            column = table[field.name].combine_chunks()
            if column.null_count:
                missing = column.is_null().to_numpy(zero_copy_only=False)
                cells[:, len(self.schema) + i // _BITS] |= missing.astype(np.int64) << (i % _BITS)
            cells[:, i] = self._words[i].put(column) if i in self._words else _to_cells(column)
        for number, places, here in _by_piece(slots):
            if number not in self._pieces:
                self._pieces[number] = np.zeros((_PIECE, self._width), np.int64)
            self._pieces[number][places] = cells[here]

    def take(self, slots: NDArray[np.int64]) -> pa.Table:
        """The rows in these slots, in the order given."""
        cells = self._cells(slots)
        return pa.table([self._column(cells, i) for i in range(len(self.schema))], schema=self.schema)

    def number(self, slots: NDArray[np.int64], name: str) -> NDArray[np.int64]:
        """The cells of one column of whole numbers."""
        i = self.schema.get_field_index(name)
        out: NDArray[np.int64] = np.empty(len(slots), np.int64)
        for number, places, here in _by_piece(slots):
            out[here] = self._pieces[number][places, i]
        return out

    def clear(self, slots: NDArray[np.int64]) -> None:
        """Empty the slots for other rows."""
        if self._words and len(slots):
            cells = self._cells(slots)
            for i, words in self._words.items():
                words.release(cells[self._valid(cells, i), i])

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has reserved."""
        return sum(piece.nbytes for piece in self._pieces.values()) + sum(w.nbytes for w in self._words.values())

    def _cells(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        out: NDArray[np.int64] = np.empty((len(slots), self._width), np.int64)
        for number, places, here in _by_piece(slots):
            out[here] = self._pieces[number][places]
        return out

    def _valid(self, cells: NDArray[np.int64], i: int) -> NDArray[np.bool_]:
        return np.asarray((cells[:, len(self.schema) + i // _BITS] >> (i % _BITS)) & 1 == 0)

    def _column(self, cells: NDArray[np.int64], i: int) -> pa.Array:
        valid, kind = self._valid(cells, i), self.schema.field(i).type
        column = np.ascontiguousarray(cells[:, i])
        if i in self._words:
            return self._words[i].take(column, valid)
        mask = None if valid.all() else ~valid
        if pa.types.is_floating(kind):
            return pa.array(column.view(np.float64), mask=mask).cast(kind)
        if pa.types.is_boolean(kind):
            return pa.array(column != 0, mask=mask)
        if pa.types.is_date32(kind):
            return pa.array(column.astype(np.int32), mask=mask).cast(kind)
        return pa.array(column, mask=mask).cast(kind)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind))


def _to_cells(column: pa.Array) -> NDArray[np.int64]:
    kind = column.type
    if pa.types.is_floating(kind):
        numbers: NDArray[np.float64] = pc.fill_null(column.cast(pa.float64()), 0.0).to_numpy(zero_copy_only=False)
        return numbers.view(np.int64)
    whole = column.cast(pa.int32()) if pa.types.is_date32(kind) else column
    cells: NDArray[np.int64] = pc.fill_null(whole.cast(pa.int64()), 0).to_numpy(zero_copy_only=False)
    return cells


def _by_piece(slots: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """For each piece: its number, the places in it, and where among `slots` they stand."""
    if not len(slots):
        return
    pieces = slots >> _PIECE_BITS
    order = np.argsort(pieces, kind="stable")
    numbers, starts = np.unique(pieces[order], return_index=True)
    for number, here in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
        yield number, slots[here] & (_PIECE - 1), here
