"""Rows of numbers by slot, each column in as few bytes as its values need.

Rows lie in pieces that are never copied as more come: a table that doubles by copying would need three times its memory
at that moment. Memory that nobody has written to is not taken from the machine. A row's columns lie together: a label
comes for any of millions of rows, and each place that is looked up is one more wait for memory.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

_PIECE_BITS = 16
_PIECE = 1 << _PIECE_BITS
_WHOLE = "i"


class Pieces:
    """Columns of whole numbers are as wide as the widest of their values so far, others as wide as they are declared.

    Rows that were written before a column became wider stay as they are, until others are written beside them.

    >>> rows = Pieces(["i8", "f8"])
    >>> rows.put(np.array([7, 2]), [np.array([-3, 100]), np.array([0.5, 2.5])])
    >>> rows.take(np.array([2, 7])).dtype
    dtype([('0', 'i1'), ('1', '<f8')])
    >>> rows.put(np.array([100_000]), [np.array([70_000]), np.array([0.0])])
    >>> rows.take(np.array([2, 100_000, 7]))["0"].tolist()
    [100, 70000, -3]
    """

    def __init__(self, kinds: Sequence[str]) -> None:
        """`kinds` are numpy's: that of a signed integer says how wide it may become, and it begins with one byte."""
        self._layout = _layout([f"{_WHOLE}1" if kind.startswith(_WHOLE) else kind for kind in kinds])
        self._pieces: dict[int, NDArray[np.void]] = {}
        self._used = 0

    def put(self, slots: NDArray[np.int64], columns: Sequence[NDArray[np.generic]]) -> None:
        """Write rows; each slot once."""
        if not len(slots):
            return
        self._widen(columns)
        self._used = max(self._used, int(slots.max()) + 1)
        rows = np.empty(len(slots), self._layout)
        for i, column in enumerate(columns):
            rows[str(i)] = column
        for number, places, here in _by_piece(slots):
            _raw(self._piece(number))[places] = _raw(rows)[here]

    def take(self, slots: NDArray[np.int64]) -> NDArray[np.void]:
        """The rows, as a structured array whose fields are the columns' numbers."""
        out = np.empty(len(slots), self._layout)
        for number, places, here in _by_piece(slots):
            piece = self._pieces[number]
            chosen = _raw(piece)[places]
            # The bytes as they are where that is possible: numpy takes a structure field by field otherwise.
            if piece.dtype == self._layout:
                _raw(out)[here] = chosen
            else:
                out[here] = chosen.view(piece.dtype)
        return out

    def column(self, slots: NDArray[np.int64], i: int) -> NDArray[np.int64]:
        """The values of one column of whole numbers."""
        out: NDArray[np.int64] = np.empty(len(slots), np.int64)
        for number, places, here in _by_piece(slots):
            out[here] = self._pieces[number][str(i)][places]
        return out

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has reserved."""
        return sum(piece.nbytes for piece in self._pieces.values())

    def _widen(self, columns: Sequence[NDArray[np.generic]]) -> None:
        kinds = [self._layout[i].str.lstrip("<|") for i in range(len(columns))]
        wider = [
            f"{_WHOLE}{max(int(kind[1:]), _width(column))}" if kind.startswith(_WHOLE) else kind
            for kind, column in zip(kinds, columns, strict=True)
        ]
        if wider != kinds:
            self._layout = _layout(wider)

    def _piece(self, number: int) -> NDArray[np.void]:
        """The piece, wide enough for what is to be written."""
        piece = self._pieces.get(number)
        if piece is None or piece.dtype != self._layout:
            made = np.zeros(_PIECE, self._layout)
            if piece is not None:
                written = min(self._used - (number << _PIECE_BITS), _PIECE)
                for name in self._layout.names or ():
                    made[name][:written] = piece[name][:written]
            self._pieces[number] = piece = made
        return piece


def _layout(kinds: Sequence[str]) -> np.dtype[np.void]:
    return np.dtype([(str(i), kind) for i, kind in enumerate(kinds)])


def _raw(rows: NDArray[np.void]) -> NDArray[np.void]:
    return rows.view(f"V{rows.dtype.itemsize}")


def _width(column: NDArray[np.generic]) -> int:
    """How many bytes each of these whole numbers fits into."""
    low, high = int(column.min()), int(column.max())
    return next(width for width in (1, 2, 4, 8) if -(1 << 8 * width - 1) <= low and high < 1 << 8 * width - 1)


def _by_piece(slots: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
    """For each piece: its number, the places in it, and where among `slots` they stand."""
    if not len(slots):
        return
    pieces = slots >> _PIECE_BITS
    order = np.argsort(pieces, kind="stable")
    numbers, starts = np.unique(pieces[order], return_index=True)
    for number, here in zip(numbers.tolist(), np.split(order, starts[1:]), strict=True):
        yield number, slots[here] & (_PIECE - 1), here
