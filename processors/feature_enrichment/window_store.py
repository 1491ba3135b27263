"""The windows' state of one partition: the keys, and the arrays that the kernel works on."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment import window_kernel as kernel
from tidemill.processors.feature_enrichment import window_rows_kernel as rows_kernel
from tidemill.processors.feature_enrichment.aggregates import Kind
from tidemill.processors.feature_enrichment.distinct_store import DistinctStore
from tidemill.processors.feature_enrichment.window import Window
from tidemill.processors.growth import grown
from tidemill.processors.key_index import KeyIndex

_CODES = {
    Kind.COUNT: kernel.OF_COUNT,
    Kind.SUM: kernel.OF_SUM,
    Kind.MEAN: kernel.OF_MEAN,
    Kind.STD: kernel.OF_STD,
    Kind.MIN: kernel.OF_MIN,
    Kind.MAX: kernel.OF_MAX,
    Kind.FIRST: kernel.OF_FIRST,
    Kind.LAST: kernel.OF_LAST,
    Kind.DECAYED_MEAN: kernel.OF_DECAYED_MEAN,
    Kind.TIME_SINCE_LAST: kernel.OF_TIME,
}
_PARTS = {
    kernel.N: "n",
    kernel.SUM: "sum",
    kernel.MEAN: "mean",
    kernel.M2: "m2",
    kernel.MIN: "min",
    kernel.MAX: "max",
    kernel.FIRST: "first",
    kernel.LAST: "last",
}
# What each aggregate keeps; the last of them is what it is made of.
_READS = {
    Kind.COUNT: (kernel.N,),
    Kind.SUM: (kernel.N, kernel.SUM),
    Kind.MEAN: (kernel.N, kernel.SUM),
    Kind.STD: (kernel.N, kernel.MEAN, kernel.M2),
    Kind.MIN: (kernel.N, kernel.MIN),
    Kind.MAX: (kernel.N, kernel.MAX),
    Kind.FIRST: (kernel.N, kernel.FIRST),
    Kind.LAST: (kernel.N, kernel.LAST),
    Kind.DECAYED_MEAN: (kernel.N, kernel.SUM),
}
# Half of int64: room to go back by a window, or to subtract two times. As microseconds, year 146,000.
_FARTHEST = 2**62 - 1
# Of how many slots, at least, is asked after each batch whether their keys have expired.
_SWEPT = 1024


class WindowStore:
    """One window's state by key; a `Store`.

    `update` is the only way to write it besides `apply`. Results are bit for bit the same however the log is cut into
    calls of `update`, and after `rows` were put into another store by `apply`. Not for several threads at once.

    A key that has been idle for `Window.idle_buckets` of the store's clock, by the log's order, has expired: it is as
    one that never was. When its memory is freed does not matter.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._keys = KeyIndex()
        self._kernels = [(name, a) for name, a in window.aggregates if a.kind is not Kind.DISTINCT]
        self._told_apart = [(name, a) for name, a in window.aggregates if a.kind is Kind.DISTINCT]
        self._distinct = DistinctStore(window) if window.limits else None
        self._times = any(a.kind is Kind.TIME_SINCE_LAST for _, a in self._kernels)
        self._names = [
            (field, part)
            for field in window.fields
            for part in sorted({p for _, a in self._kernels if a.field == field for p in _READS[a.kind]})
        ]
        places = {name: c for c, name in enumerate(self._names)}
        self._columns = _table([(part, window.fields.index(f), places[f, kernel.N]) for f, part in self._names], 3)
        half_lives = sorted({a.half_life for _, a in window.aggregates if a.half_life is not None})
        self._weights = np.ones((len(half_lives), window.buckets if half_lives else 0))
        for h, half_life in enumerate(half_lives):
            # math's exp2, not numpy's, whose last bit depends on which vector instructions the machine has.
            self._weights[h] = [math.exp2(-(age * window.resolution / half_life)) for age in range(window.buckets)]
        self._aggregates = _table(
            [
                (
                    _CODES[a.kind],
                    places[a.field, _READS[a.kind][-1]],
                    places[a.field, kernel.N],
                    half_lives.index(a.half_life) if a.half_life is not None else 0,
                )
                if a.field is not None
                else (kernel.OF_TIME if a.kind is Kind.TIME_SINCE_LAST else kernel.OF_EVENTS, 0, 0, 0)
                for _, a in self._kernels
            ],
            4,
        )
        self._heads: NDArray[np.int64] = np.full((0, kernel.SLOT), kernel.NONE, np.int64)
        self._dirty: NDArray[np.uint8] = np.zeros(0, np.uint8)
        self._written: NDArray[np.int64] = np.zeros(0, np.int64)
        self._swept = 0
        self._schema: pa.Schema | None = None
        """Of `rows`, once it was asked for."""
        self._links: NDArray[np.int64] = np.zeros((0, kernel.LINKS), np.int64)
        self._parts: NDArray[np.float64] = np.zeros((0, len(self._names)))
        self._pool = np.array([kernel.NONE, 0, kernel.NEVER, 0], np.int64)

    def update(
        self,
        keys: pa.Array,
        times: NDArray[np.int64],
        values: Mapping[str, pa.Array],
        sent: NDArray[np.int64] | None = None,
    ) -> dict[str, pa.Array]:
        """The features of each event, then the event itself is added; events one after the other, in the order given.

        `keys` are strings, `times` int64 microseconds, `values` has the window's fields. Counts, also distinct ones,
        are int64 and never null, the others float64. `sent`, also in microseconds, says how far each event may move
        the clock at most: a time far ahead then expires no other key.
        """
        numbers = as_floats(values, self._window.fields, len(keys))
        out, valid = self.room(len(keys))
        self.update_into(keys, times, numbers, values, sent, out, valid)
        return self.columns(out, valid)

    def room(self, rows: int) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Where `update_into` puts the features of so many events."""
        shape = rows, len(self._window.aggregates)
        return np.zeros(shape), np.zeros(shape, np.uint8)

    def columns(self, out: NDArray[np.float64], valid: NDArray[np.uint8]) -> dict[str, pa.Array]:
        """The features that stand there, of this or of another partition's store."""
        made = {
            name: pa.array(out[:, a].astype(np.int64))
            if aggregate.counts
            else pa.array(out[:, a], mask=valid[:, a] == 0)
            for a, (name, aggregate) in enumerate([*self._kernels, *self._told_apart])
        }
        return {name: made[name] for name in self._window.names}

    def update_into(
        self,
        keys: pa.Array,
        times: NDArray[np.int64],
        numbers: NDArray[np.float64],
        values: Mapping[str, pa.Array],
        sent: NDArray[np.int64] | None,
        out: NDArray[np.float64],
        valid: NDArray[np.uint8],
    ) -> None:
        """As `update`, into rows of what `room` gave; `numbers` are the values as `as_floats` has them."""
        rows = len(keys)
        slots = self._find(keys)
        resolution = self._window.resolution
        times = np.clip(times, -_FARTHEST, _FARTHEST)
        buckets = times // resolution
        ticks = buckets if sent is None else np.maximum(np.minimum(times, sent), -_FARTHEST) // resolution
        self._reserve(rows)
        if self._pool[kernel.WRITTEN] + rows > len(self._written):
            self._written = grown(self._written, int(self._pool[kernel.WRITTEN]) + rows, 0)
        expired = np.zeros(rows, np.uint8)
        kernel.update(
            slots,
            times,
            buckets,
            ticks,
            numbers,
            self._heads,
            self._dirty,
            self._written,
            self._links,
            self._columns,
            self._parts,
            self._pool,
            self._window.buckets,
            self._window.kept_buckets,
            self._window.idle_buckets,
            self._aggregates,
            self._weights,
            out,
            valid,
            expired,
        )
        if self._distinct is not None:
            found = self._distinct.update(slots, buckets, numbers, values, expired)
            for place, (_, aggregate) in enumerate(self._told_apart, start=len(self._kernels)):
                assert aggregate.field is not None
                assert aggregate.limit is not None
                # A count is at most a block's values: float64 holds it as it is.
                out[:, place] = np.minimum(found[aggregate.field], aggregate.limit)
        self._sweep(rows)

    def changed(self) -> NDArray[np.int64]:
        """The slots that were written since the last call, in order; forgets them."""
        slots: NDArray[np.int64] = np.unique(self._written[: self._pool[kernel.WRITTEN]])
        self._pool[kernel.WRITTEN] = 0
        slots = slots[self._dirty[slots] == 1]
        self._dirty[slots] = 0
        return slots

    def alive(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which slots hold a key that has not expired."""
        made: NDArray[np.bool_] = rows_kernel.alive(
            slots, self._window.idle_buckets, self._heads, self._links, self._pool
        )
        return made

    def rows(self, slots: NDArray[np.int64]) -> pa.RecordBatch:
        """Key by key the buckets, newest first, with what the aggregates need of each: lists of equal length."""
        slots = np.array(slots, np.int64)
        lengths = rows_kernel.lengths(slots, self._heads, self._links)
        offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))).astype(np.int32))
        nodes = rows_kernel.nodes(slots, int(lengths.sum()), self._heads, self._links)
        columns = {
            "key": self._keys.take(slots),
            "seen": pa.array(self._heads[slots, kernel.SEEN]),
            "bucket": pa.ListArray.from_arrays(offsets, pa.array(self._links[nodes, kernel.BUCKET])),
            "events": pa.ListArray.from_arrays(offsets, pa.array(self._links[nodes, kernel.EVENTS])),
        }
        if self._times:
            columns["time"] = pa.ListArray.from_arrays(offsets, pa.array(self._links[nodes, kernel.TIME]))
        for c, (field, part) in enumerate(self._names):
            numbers = self._parts[nodes, c]
            if part == kernel.N:
                numbers = numbers.astype(np.int64)
            columns[f"{field}_{_PARTS[part]}"] = pa.ListArray.from_arrays(offsets, pa.array(numbers))
        if self._distinct is not None:
            columns |= self._distinct.columns(slots)
        if self._schema is None:
            self._schema = pa.schema([(name, column.type) for name, column in columns.items()])
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=self._schema)

    def apply(self, rows: pa.RecordBatch) -> NDArray[np.int64]:
        """Put back rows that `rows()` gave, replacing older ones of the same keys; returns their slots."""
        slots = self._find(rows["key"])
        counts = pc.list_value_length(rows["bucket"]).to_numpy(zero_copy_only=False).astype(np.int64)
        flat = {name: rows[name].flatten().to_numpy(zero_copy_only=False) for name in rows.schema.names[2:]}
        parts = np.zeros((len(flat["bucket"]), len(self._names)))
        for c, (field, part) in enumerate(self._names):
            parts[:, c] = flat[f"{field}_{_PARTS[part]}"]
        links = np.zeros((len(parts), kernel.LINKS), np.int64)
        links[:, kernel.BUCKET] = flat["bucket"]
        links[:, kernel.EVENTS] = flat["events"]
        if self._times:
            links[:, kernel.TIME] = flat["time"]
        self._reserve(len(parts))
        rows_kernel.restore(
            slots,
            counts,
            rows["seen"].to_numpy(),
            links,
            parts,
            self._heads,
            self._links,
            self._parts,
            self._pool,
        )
        if self._distinct is not None:
            self._distinct.restore(slots, flat["bucket"][np.cumsum(counts) - counts], rows)
        self._sweep(len(slots))
        return slots

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it has reserved."""
        own = (self._heads, self._dirty, self._written, self._links, self._parts)
        distinct = 0 if self._distinct is None else self._distinct.nbytes
        return self._keys.nbytes + distinct + sum(array.nbytes for array in own)

    def __len__(self) -> int:
        return len(self._keys)

    def _find(self, keys: pa.Array) -> NDArray[np.int64]:
        """Each key's slot, new ones for new keys, -1 for null."""
        slots = self._keys.find(keys)
        used = self._keys.used
        if used > len(self._heads):
            self._heads = grown(self._heads, used, kernel.NONE)
            self._dirty = grown(self._dirty, used, 0)
            if self._distinct is not None:
                self._distinct.grow(used)
        return slots

    def _sweep(self, rows: int) -> None:
        """Free what has expired, of twice as many slots as there were rows: no batch pays for all of them."""
        used = self._keys.used
        start, stop = self._swept, min(used, self._swept + max(_SWEPT, 2 * rows))
        self._swept = stop if stop < used else 0
        window = self._window
        slots = rows_kernel.sweep(start, stop, window.idle_buckets, self._heads, self._dirty, self._links, self._pool)
        if len(slots):
            self._keys.free(slots)
            if self._distinct is not None:
                self._distinct.forget(slots)

    def _reserve(self, nodes: int) -> None:
        """Make room for this many nodes more than were ever used."""
        needed = int(self._pool[kernel.USED]) + nodes
        if needed > len(self._links):
            self._links = grown(self._links, needed, 0)
            self._parts = grown(self._parts, needed, 0)


def _table(rows: Sequence[tuple[int, ...]], width: int) -> NDArray[np.int64]:
    """The rows as an array of that width, also when there are none."""
    return np.array(rows, np.int64).reshape(-1, width)


def as_floats(values: Mapping[str, pa.Array], fields: Sequence[str], rows: int) -> NDArray[np.float64]:
    """[event, field] as float64, with NaN for null; of what is not a number, only whether it is there."""
    numbers = np.empty((rows, len(fields)))
    for place, field in enumerate(fields):
        numbers[:, place] = _floats(values[field])
    return numbers


def _floats(values: pa.Array) -> NDArray[np.float64]:
    kind = values.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        exact = values if kind == pa.float64() else pc.cast(values, pa.float64(), safe=False)
        # Arrow's null is NaN where numpy cannot have it.
        floats: NDArray[np.float64] = exact.to_numpy(zero_copy_only=False)
        return floats
    return np.where(values.is_valid().to_numpy(zero_copy_only=False), 0.0, np.nan)
