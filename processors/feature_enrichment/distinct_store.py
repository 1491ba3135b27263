"""The values that one window tells apart, by key: the arrays that the distinct kernel works on."""

import hashlib
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment import distinct_kernel as kernel
from tidemill.processors.feature_enrichment.window import Window
from tidemill.processors.growth import grown


class DistinctStore:
    """The part of a window's state that distinct counts need; keys are the window's slots."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._fields = tuple(window.limits)
        self._indices = np.array([window.fields.index(field) for field in self._fields], np.int64)
        self._limits = np.array(list(window.limits.values()), np.int64)
        self._newest: NDArray[np.int64] = np.zeros(0, np.int64)
        self._heads: NDArray[np.int64] = np.zeros((0, len(self._fields)), np.int64)
        self._counted: NDArray[np.int64] = np.zeros((0, len(self._fields), kernel.REMEMBERED), np.int64)
        self._entries: NDArray[np.int64] = np.zeros((0, kernel.ENTRY), np.int64)
        self._pool = np.array([kernel.NONE, 0], np.int64)

    def grow(self, slots: int) -> None:
        """Make room for this many keys."""
        if slots > len(self._newest):
            self._newest = grown(self._newest, slots, kernel.NEVER)
            self._heads = grown(self._heads, slots, kernel.NONE)
            self._counted = grown(self._counted, slots, kernel.NEVER)

    def update(
        self,
        slots: NDArray[np.int64],
        buckets: NDArray[np.int64],
        numbers: NDArray[np.float64],
        values: Mapping[str, pa.Array],
        expired: NDArray[np.uint8],
    ) -> dict[str, NDArray[np.int64]]:
        """By field, how many values each event's window has, up to the field's limit; then the events are added.

        `numbers` is [event, field of the window], NaN where there is no value; `expired` marks the events before which
        their key's state is forgotten.
        """
        self._reserve(len(slots) * len(self._fields))
        codes = np.empty((len(slots), len(self._fields)), np.int64)
        for d, field in enumerate(self._fields):
            codes[:, d] = as_bits(values[field])
        out = np.zeros(codes.shape, np.int64)
        kernel.update(
            slots,
            buckets,
            numbers,
            codes,
            expired,
            self._indices,
            self._limits,
            self._newest,
            self._heads,
            self._counted,
            self._entries,
            self._pool,
            self._window.buckets,
            self._window.kept_buckets,
            out,
        )
        return {field: out[:, d] for d, field in enumerate(self._fields)}

    def forget(self, slots: NDArray[np.int64]) -> None:
        """Empty the slots, for other keys to come."""
        kernel.forget(slots, self._newest, self._heads, self._counted, self._entries, self._pool)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has reserved."""
        return self._newest.nbytes + self._heads.nbytes + self._counted.nbytes + self._entries.nbytes

    def columns(self, slots: NDArray[np.int64]) -> dict[str, pa.Array]:
        """Of each slot and field, the values as 64 bits and their buckets, newest first: lists of equal length."""
        made = {}
        for d, field in enumerate(self._fields):
            lengths = kernel.lengths(slots, d, self._heads, self._entries)
            offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
            entries = kernel.listed(slots, d, int(lengths.sum()), self._heads, self._entries)
            for name, part in zip(_names(field), (kernel.VALUE, kernel.BUCKET), strict=True):
                made[name] = pa.ListArray.from_arrays(offsets, pa.array(self._entries[entries, part]))
        return made

    def restore(self, slots: NDArray[np.int64], newest: NDArray[np.int64], rows: pa.RecordBatch) -> None:
        """Replace what the slots hold by rows with `columns`; `newest` is the newest bucket of each row."""
        self._newest[slots] = newest
        for d, field in enumerate(self._fields):
            lists = [rows[name] for name in _names(field)]
            counts = pc.list_value_length(lists[0]).to_numpy(zero_copy_only=False).astype(np.int64)
            values, buckets = (column.flatten().to_numpy(zero_copy_only=False).astype(np.int64) for column in lists)
            self._reserve(len(values))
            kernel.restore(slots, counts, d, buckets, values, self._heads, self._counted, self._entries, self._pool)

    def _reserve(self, entries: int) -> None:
        """Make room for this many entries more than were ever used."""
        needed = int(self._pool[kernel.USED]) + entries
        if needed > len(self._entries):
            self._entries = grown(self._entries, needed, 0)


def as_bits(values: pa.Array) -> NDArray[np.int64]:
    """64 bits for each value, equal for equal ones; text by its BLAKE2b hash. Of nulls and NaN, anything."""
    kind = values.type
    if pa.types.is_floating(kind):
        numbers = pc.fill_null(pc.cast(values, pa.float64()), 0.0).to_numpy(zero_copy_only=False)
        # Zero and negative zero are equal, and their sum is zero.
        bits: NDArray[np.int64] = (numbers + 0.0).view(np.int64)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        encoded = values.dictionary_encode()
        hashes = [hashlib.blake2b(text.encode(), digest_size=8).digest() for text in encoded.dictionary.to_pylist()]
        # Nulls have no index; -1 is the last place, which is kept for them.
        table = np.frombuffer(b"".join([*hashes, bytes(8)]), "<i8").astype(np.int64)
        bits = table[pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)]
    else:
        whole = values.view(pa.int32()) if pa.types.is_date32(kind) else values
        bits = pc.fill_null(pc.cast(whole, pa.int64()), 0).to_numpy(zero_copy_only=False)
    return bits


def _names(field: str) -> tuple[str, str]:
    return f"{field}_values", f"{field}_value_buckets"
