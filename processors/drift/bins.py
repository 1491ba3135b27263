"""Two sketches in bins that they share, which is what distances between distributions are measured in."""

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.drift.category_sketch import CategorySketch
from tidemill.processors.drift.number_sketch import NumberSketch, code_of

NUMBER_BINS = 10
RARE = 0.002
"""Categories that make up less than this of both distributions are taken as one."""

Sketch = NumberSketch | CategorySketch
Counts = NDArray[np.int64]


def shared_bins(reference: Sketch, now: Sketch) -> tuple[Counts, Counts]:
    """Counts in the same bins, none of which is empty in both; missing values are not counted.

    Numbers: tenths of the reference, what lies below and above its range, and infinities. Categories: by name while
    both sketches are exact, else by hash; rare ones together. The bins depend on shares alone, not on how many rows
    there are.
    """
    if isinstance(reference, NumberSketch):
        assert isinstance(now, NumberSketch), "a column of numbers is compared with one of categories"
        then, later = _by_tenths(reference, now)
    else:
        assert isinstance(now, CategorySketch), "a column of categories is compared with one of numbers"
        then, later = _by_category(reference, now)
    used = (then + later) > 0
    return then[used], later[used]


def shared_points(reference: NumberSketch, now: NumberSketch) -> tuple[NDArray[np.float64], Counts, Counts]:
    """Every bucket that one of them has, in the order of values: the value it stands for, and both counts."""
    (codes, values, counts), (others, other_values, other_counts) = reference.points(), now.points()
    every, first, places = np.unique(np.concatenate([codes, others]), return_index=True, return_inverse=True)
    then, later = np.zeros(len(every), np.int64), np.zeros(len(every), np.int64)
    then[places[: len(codes)]] = counts
    later[places[len(codes) :]] = other_counts
    return np.concatenate([values, other_values])[first], then, later


def _by_tenths(reference: NumberSketch, now: NumberSketch) -> tuple[Counts, Counts]:
    codes, _, counts = reference.points()
    edges = np.empty(0, np.int64)
    if reference.count:
        wanted = np.arange(1, NUMBER_BINS + 1) * reference.count
        # The code of each tenth's last value; the first edge has all below the reference's range on its left.
        tenths = codes[np.searchsorted(np.cumsum(counts) * NUMBER_BINS, wanted)]
        edges = np.unique([code_of(reference.minimum) - 1, *tenths])

    def binned(sketch: NumberSketch) -> Counts:
        own, _, held = sketch.points()
        filled = np.zeros(len(edges) + 2, np.int64)
        np.add.at(filled, np.searchsorted(edges, own), held)
        filled[-1] = sketch.infinite
        return filled

    return binned(reference), binned(now)


def _by_category(reference: CategorySketch, now: CategorySketch) -> tuple[Counts, Counts]:
    if reference.exact and now.exact:
        names = sorted({*reference.counts, *now.counts})
        then = np.array([reference.counts.get(name, 0) for name in names], np.int64)
        later = np.array([now.counts.get(name, 0) for name in names], np.int64)
    else:
        then, later = np.array(reference.buckets(), np.int64), np.array(now.buckets(), np.int64)
    mean_share = (then / max(reference.count, 1) + later / max(now.count, 1)) / 2
    rare = mean_share < RARE
    return np.append(then[~rare], then[rare].sum()), np.append(later[~rare], later[rare].sum())
