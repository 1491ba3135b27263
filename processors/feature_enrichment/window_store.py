"""The windows' state of one partition: the keys, and the arrays that the kernel works on."""

import math
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment import window_kernel as kernel
from tidemill.processors.feature_enrichment.aggregates import Kind
from tidemill.processors.feature_enrichment.window import Window

_CODES = {
    Kind.COUNT: kernel.OF_COUNT,
    Kind.SUM: kernel.OF_SUM,
    Kind.MEAN: kernel.OF_MEAN,
    Kind.MIN: kernel.OF_MIN,
    Kind.MAX: kernel.OF_MAX,
    Kind.LAST: kernel.OF_LAST,
    Kind.DECAYED_MEAN: kernel.OF_DECAYED_MEAN,
}
_PARTS = {kernel.N: "n", kernel.SUM: "sum", kernel.MIN: "min", kernel.MAX: "max", kernel.LAST: "last"}
_READS = {
    Kind.COUNT: (kernel.N,),
    Kind.SUM: (kernel.N, kernel.SUM),
    Kind.MEAN: (kernel.N, kernel.SUM),
    Kind.MIN: (kernel.N, kernel.MIN),
    Kind.MAX: (kernel.N, kernel.MAX),
    Kind.LAST: (kernel.N, kernel.LAST),
    Kind.DECAYED_MEAN: (kernel.N, kernel.SUM),
}
# Half of int64: room to go back by a window without leaving the range. As microseconds, year 146,000.
_FARTHEST = 2**62

_Scalar = TypeVar("_Scalar", bound=np.generic)


class WindowStore:
    """One window's state by key; a `Store`.

    `update` is the only way to write it besides `apply`. Results are bit for bit the same however the log is cut into
    calls of `update`, and after `rows` were put into another store by `apply`. Not for several threads at once.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._slots: dict[str, int] = {}
        self._keys: list[str] = []
        self._columns = [
            (field, f, part)
            for f, field in enumerate(window.fields)
            for part in sorted({p for _, a in window.aggregates if a.field == field for p in _READS[a.kind]})
        ]
        half_lives = sorted({a.half_life for _, a in window.aggregates if a.half_life is not None})
        self._weights = np.ones((len(half_lives), window.buckets if half_lives else 0))
        for h, half_life in enumerate(half_lives):
            # math's exp2, not numpy's, whose last bit depends on which vector instructions the machine has.
            self._weights[h] = [math.exp2(-(age * window.resolution / half_life)) for age in range(window.buckets)]
        self._aggregates = np.array(
            [
                (
                    _CODES[a.kind] if a.field is not None else kernel.OF_EVENTS,
                    window.fields.index(a.field) if a.field is not None else 0,
                    half_lives.index(a.half_life) if a.half_life is not None else 0,
                )
                for _, a in window.aggregates
            ],
            np.int64,
        )
        self._heads: NDArray[np.int64] = np.full(0, kernel.NONE, np.int64)
        self._dirty: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._links: NDArray[np.int64] = np.zeros((0, kernel.LINKS), np.int64)
        self._parts: NDArray[np.float64] = np.zeros((0, len(window.fields), kernel.PARTS))
        self._pool = np.array([kernel.NONE, 0], np.int64)

    def update(self, keys: pa.Array, times: NDArray[np.int64], values: Mapping[str, pa.Array]) -> dict[str, pa.Array]:
        """The features of each event, then the event itself is added; events one after the other, in the order given.

        `keys` are strings, `times` int64 microseconds, `values` has the window's fields. Counts are int64 and never
        null, the others float64.
        """
        rows = len(keys)
        slots = self._find(keys)
        buckets = np.clip(times, -_FARTHEST, _FARTHEST) // self._window.resolution
        columns = np.empty((rows, len(self._window.fields)))
        for f, field in enumerate(self._window.fields):
            columns[:, f] = _floats(values[field])
        self._reserve(rows)
        out = np.zeros((rows, len(self._aggregates)))
        valid = np.zeros(out.shape, np.uint8)
        kernel.update(
            slots,
            buckets,
            columns,
            self._heads,
            self._dirty,
            self._links,
            self._parts,
            self._pool,
            self._window.buckets,
            self._window.kept_buckets,
            self._aggregates,
            self._weights,
            out,
            valid,
        )
        return {
            name: pa.array(out[:, a].astype(np.int64))
            if aggregate.kind is Kind.COUNT
            else pa.array(out[:, a], mask=valid[:, a] == 0)
            for a, (name, aggregate) in enumerate(self._window.aggregates)
        }

    def changed(self) -> NDArray[np.int64]:
        """The slots that were written since the last call, in order; forgets them."""
        slots = np.flatnonzero(self._dirty[: len(self)]).astype(np.int64)
        self._dirty[slots] = 0
        return slots

    def alive(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which slots hold a key: all that were ever given, as keys are kept until the partition goes."""
        return (slots >= 0) & (slots < len(self))

    def rows(self, slots: NDArray[np.int64]) -> pa.RecordBatch:
        """Key by key the buckets, newest first, with what the aggregates need of each: lists of equal length."""
        slots = np.array(slots, np.int64)
        lengths = kernel.lengths(slots, self._heads, self._links)
        offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
        nodes = kernel.nodes(slots, int(lengths.sum()), self._heads, self._links)
        columns = {
            "key": pa.array([self._keys[s] for s in slots.tolist()], pa.string()),
            "bucket": pa.ListArray.from_arrays(offsets, pa.array(self._links[nodes, kernel.BUCKET])),
            "events": pa.ListArray.from_arrays(offsets, pa.array(self._links[nodes, kernel.EVENTS])),
        }
        for field, f, part in self._columns:
            numbers = self._parts[nodes, f, part]
            if part == kernel.N:
                numbers = numbers.astype(np.int64)
            columns[f"{field}_{_PARTS[part]}"] = pa.ListArray.from_arrays(offsets, pa.array(numbers))
        return pa.record_batch(columns)

    def apply(self, rows: pa.RecordBatch) -> NDArray[np.int64]:
        """Put back rows that `rows()` gave, replacing older ones of the same keys; returns their slots."""
        slots = self._find(rows["key"])
        counts = pc.list_value_length(rows["bucket"]).to_numpy(zero_copy_only=False).astype(np.int64)
        flat = {name: rows[name].flatten().to_numpy(zero_copy_only=False) for name in rows.schema.names[1:]}
        parts = np.zeros((len(flat["bucket"]), len(self._window.fields), kernel.PARTS))
        for field, f, part in self._columns:
            parts[:, f, part] = flat[f"{field}_{_PARTS[part]}"]
        links = np.zeros((len(parts), kernel.LINKS), np.int64)
        links[:, kernel.BUCKET] = flat["bucket"]
        links[:, kernel.EVENTS] = flat["events"]
        self._reserve(len(parts))
        kernel.restore(
            slots,
            counts,
            links,
            parts,
            self._heads,
            self._links,
            self._parts,
            self._pool,
        )
        return slots

    def __len__(self) -> int:
        return len(self._keys)

    def _find(self, keys: pa.Array) -> NDArray[np.int64]:
        """Each key's slot, new ones for new keys, -1 for null."""
        encoded = keys.dictionary_encode()
        found = np.full(len(encoded.dictionary) + 1, -1, np.int64)
        for i, key in enumerate(encoded.dictionary.to_pylist()):
            slot = self._slots.get(key)
            if slot is None:
                slot = self._slots[key] = len(self._keys)
                self._keys.append(key)
            found[i] = slot
        if len(self._keys) > len(self._heads):
            self._heads = _grown(self._heads, len(self._keys), kernel.NONE)
            self._dirty = _grown(self._dirty, len(self._keys), 0)
        # Nulls have no index; -1 is the last place of `found`, which is kept for them.
        places: NDArray[np.int32] = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False)
        return found[places]

    def _reserve(self, nodes: int) -> None:
        """Make room for this many nodes more than were ever used."""
        needed = int(self._pool[kernel.USED]) + nodes
        if needed > len(self._links):
            self._links = _grown(self._links, needed, 0)
            self._parts = _grown(self._parts, needed, 0)


def _grown(array: NDArray[_Scalar], needed: int, fill: int) -> NDArray[_Scalar]:
    """A copy with room for `needed`, at least twice what there was."""
    grown = np.full((max(needed, 2 * len(array)), *array.shape[1:]), fill, array.dtype)
    grown[: len(array)] = array
    return grown


def _floats(values: pa.Array) -> NDArray[np.float64]:
    """As float64, with NaN for null; of what is not a number, only whether it is there."""
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        numbers = pc.fill_null(pc.cast(values, pa.float64(), safe=False), float("nan"))
        floats: NDArray[np.float64] = numbers.to_numpy(zero_copy_only=False)
        return floats
    return np.where(values.is_valid().to_numpy(zero_copy_only=False), 0.0, np.nan)
