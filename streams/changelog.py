"""How a store's changes become messages on the changelog topic, and how few of them.

Instead of a message per key, each commit appends one *block* per store: the rows of all the keys that changed, in
columns. A block's key is its number, so the topic can be compacted. To keep the topic about as long as the live
state, blocks are cleaned like the segments of a log-structured store (Rosenblum and Ousterhout, 1992): once the
blocks hold more than twice as many rows as there are keys alive, the oldest block's still current rows move into the
block being written and the old one gets a tombstone, in the same transaction. Each key written once thus costs at
most about one more write later.
"""

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.growth import grown
from tidemill.processors.stage import Store

MAX_BLOCK_BYTES = 512 * 1024
_SMALL = 1_000
_OPTIONS = pa.ipc.IpcWriteOptions()


class BlockLog:
    """Decides for one store which blocks to write and which to delete."""

    def __init__(self, store: Store, max_block_bytes: int = MAX_BLOCK_BYTES) -> None:
        self._store = store
        self._max_bytes = max_block_bytes
        self._next = 0
        # By number, which is also the order in which they come: the oldest is always the first.
        self._blocks: OrderedDict[int, NDArray[np.int32]] = OrderedDict()
        self._rows = 0
        # The number of the block that has a slot's last row, plus one: zeros take no memory before they are written to.
        self._written_in: NDArray[np.int64] = np.zeros(1024, np.int64)

    @property
    def keys(self) -> int:
        """How many keys the store holds."""
        return len(self._store)

    @property
    def nbytes(self) -> int:
        """Bytes of memory of the store, and of what is known about its rows in the log."""
        return self._store.nbytes + self._written_in.nbytes + 4 * self._rows

    def restore(self, number: int, block: bytes | None) -> None:
        """Take in one message of the changelog, in the log's order."""
        if block is None:
            slots = self._blocks.pop(number, None)
            self._rows -= 0 if slots is None else len(slots)
        else:
            self._note(number, self._store.apply(pa.ipc.open_stream(block).read_next_batch()))
        self._next = max(self._next, number + 1)

    def advance(self) -> Iterator[tuple[int, bytes | None]]:
        """The messages of this commit: block numbers with a block, or with None for a tombstone."""
        slots = self._store.changed()
        slots = slots[self._store.alive(slots)]
        self._mark(slots, self._next)
        while self._rows + len(slots) > 2 * len(self._store) + _SMALL and self._blocks:
            oldest, noted = self._blocks.popitem(last=False)
            old = noted.astype(np.int64)
            self._rows -= len(old)
            current = old[(self._written_in[old] == oldest + 1) & self._store.alive(old)]
            current = np.unique(current)
            self._mark(current, self._next)
            slots = np.concatenate([slots, current])
            yield oldest, None
        if len(slots):
            yield from self._write(slots)

    def _write(self, slots: NDArray[np.int64]) -> Iterator[tuple[int, bytes]]:
        block = _serialise(self._store.rows(slots))
        if len(block) > self._max_bytes and len(slots) > 1:
            half = len(slots) // 2
            yield from self._write(slots[:half])
            yield from self._write(slots[half:])
            return
        number = self._next
        self._next += 1
        self._note(number, slots)
        yield number, block

    def _note(self, number: int, slots: NDArray[np.int64]) -> None:
        self._mark(slots, number)
        self._blocks[number] = slots.astype(np.int32)
        self._rows += len(slots)

    def _mark(self, slots: NDArray[np.int64], number: int) -> None:
        if len(slots) and slots.max() >= len(self._written_in):
            self._written_in = grown(self._written_in, int(slots.max()) + 1, 0)
        self._written_in[slots] = number + 1


def _serialise(rows: pa.RecordBatch) -> bytes:
    # The library's own default asks the environment at every call.
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=_OPTIONS) as writer:
        writer.write_batch(rows)
    return bytes(sink.getvalue())
