"""How often each category came, in constant memory: exact while they are few, then the frequent ones and a hash."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.drift.text_kernel import HASH_BUCKETS, tally

MOST_CATEGORIES = 256
LONGEST_NAME = 128
_KEPT = 100


@dataclass(frozen=True)
class CategorySketch:
    """A mergeable summary of text, booleans or whole numbers taken as categories.

    `count` values, `missing` nulls. Up to 256 categories `counts` is exact and `error` is 0. With more, `counts`
    holds those that a Misra-Gries summary keeps (merged as Agarwal et al. do it, "Mergeable summaries", PODS 2012):
    each count is too small by at most `error`, which is at most count / 257, so every category more frequent than
    that is there. `hashed` then holds exact counts by a hash of the category in 256 buckets, which is what
    distributions are compared by.

    Merging is commutative; everything but the counts and the error of more than 256 categories is also associative,
    so it does not depend on how the values were cut and ordered. A name of more than 128 characters is cut, and ends
    in its hash.

    >>> morning, evening = CategorySketch.of(pa.array(["JFK", None])), CategorySketch.of(pa.array(["JFK", "EWR"]))
    >>> morning.merge(evening)
    CategorySketch(count=3, missing=1, counts={'EWR': 1, 'JFK': 2}, error=0, hashed=())
    """

    count: int
    missing: int
    counts: Mapping[str, int]
    """By name, in the order of the names."""
    error: int
    hashed: tuple[int, ...]
    """Empty while the counts are exact."""

    @staticmethod
    def empty() -> "CategorySketch":
        """Of nothing: merging it changes nothing."""
        return CategorySketch(0, 0, {}, 0, ())

    @staticmethod
    def of(column: pa.ChunkedArray | pa.Array | NDArray[Any]) -> "CategorySketch":
        """Of a column; what is not text is spelt as Arrow casts it: true, false, 12."""
        array = pa.array(column) if isinstance(column, np.ndarray) else column
        if pa.types.is_dictionary(array.type):
            array = pc.cast(array, array.type.value_type)
        found = pc.value_counts(array)
        names, counts = found.field("values"), found.field("counts").to_numpy()
        missing = int(counts[names.is_null().to_numpy(zero_copy_only=False)].sum())
        kept = names.is_valid()
        names, counts = names.filter(kept).cast(pa.large_string()), counts[kept.to_numpy(zero_copy_only=False)]
        if len(names) <= MOST_CATEGORIES:
            return _exact(zip(names.to_pylist(), counts.tolist(), strict=True), missing)
        # The largest alone can be among those that are kept; of a tie for the last place, none is.
        error = int(np.partition(counts, -MOST_CATEGORIES - 1)[-MOST_CATEGORIES - 1])
        frequent = np.flatnonzero(counts > error)
        top = zip(names.take(pa.array(frequent)).to_pylist(), (counts[frequent] - error).tolist(), strict=True)
        made = _exact(top, missing)
        return CategorySketch(int(counts.sum()), missing, made.counts, error, _hashed(names, counts))

    def merge(self, other: "CategorySketch") -> "CategorySketch":
        """Of both columns together."""
        counts = dict(self.counts)
        for name, count in other.counts.items():
            counts[name] = counts.get(name, 0) + count
        exact = not (self.error or other.error or len(counts) > MOST_CATEGORIES)
        hashed = () if exact else tuple(map(sum, zip(self.buckets(), other.buckets(), strict=True)))
        less = sorted(counts.values(), reverse=True)[MOST_CATEGORIES] if len(counts) > MOST_CATEGORIES else 0
        kept = {name: counts[name] - less for name in sorted(counts) if counts[name] > less}
        return CategorySketch(
            self.count + other.count,
            self.missing + other.missing,
            kept,
            self.error + other.error + less,
            hashed,
        )

    @property
    def exact(self) -> bool:
        """Whether every category is there with its true count."""
        return not self.hashed

    @property
    def rows(self) -> int:
        """How many values the column had, missing ones included."""
        return self.count + self.missing

    @property
    def missing_rate(self) -> float:
        """The share of missing values; NaN where there are no rows."""
        return self.missing / self.rows if self.rows else float("nan")

    def top(self, most: int = 10) -> list[tuple[str, int]]:
        """The most frequent categories with their counts, which are too small by at most `error`."""
        return sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))[:most]

    def buckets(self) -> tuple[int, ...]:
        """Exact counts by the hash of the category."""
        if self.hashed:
            return self.hashed
        return _hashed(pa.array(list(self.counts), pa.large_string()), np.array(list(self.counts.values()), np.int64))


def _exact(items: Iterable[tuple[str, int]], missing: int) -> CategorySketch:
    counts: dict[str, int] = {}
    for name, count in items:
        short = _short(name)
        counts[short] = counts.get(short, 0) + count
    return CategorySketch(sum(counts.values()), missing, {name: counts[name] for name in sorted(counts)}, 0, ())


def _short(name: str) -> str:
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:_KEPT]}…{hashlib.sha256(name.encode()).hexdigest()[:16]}"


def _hashed(names: pa.LargeStringArray, counts: NDArray[np.int64]) -> tuple[int, ...]:
    if len(names) and pc.max(pc.utf8_length(names)).as_py() > LONGEST_NAME:
        names = pa.array([_short(name) for name in names.to_pylist()], pa.large_string())
    names = pa.concat_arrays([names])
    _, offsets, text = names.buffers()
    buckets = np.zeros(HASH_BUCKETS, np.int64)
    if len(names):
        bounds = np.frombuffer(offsets, np.int64)[names.offset : names.offset + len(names) + 1]
        content = np.frombuffer(text, np.uint8) if text is not None and text.size else np.empty(0, np.uint8)
        tally(content, bounds, np.ascontiguousarray(counts, np.int64), buckets)
    return tuple(buckets.tolist())
