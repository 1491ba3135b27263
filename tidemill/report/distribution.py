"""The shape of a column, from its sketch: bins of numbers, shares of categories, both sides on one scale."""

import math

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.drift import CategorySketch, NumberSketch
from tidemill.processors.drift.buckets import Buckets, lower_bounds
from tidemill.report.view import Bar, CategoryShare

BINS = 28
MOST_WHOLE = 40
MOST_CATEGORIES = 8
OTHER = "(all others)"
_TAIL = 0.01
_SPAN_WITHOUT_STEPS = 1e-9

Floats = NDArray[np.float64]


def bars(reference: NumberSketch | None, now: NumberSketch) -> tuple[Bar, ...]:
    """The numbers in bins that both share, from the lower of their 1st percentiles to the higher of their 99th.

    A few whole numbers have a bin each. Else the bins are of equal width, and a bucket's numbers are taken to lie
    evenly in it.
    """
    sketches = [sketch for sketch in (reference, now) if sketch is not None and sketch.count]
    if not now.count or not sketches:
        return ()
    whole = all(_is_whole(sketch) for sketch in sketches)
    ends = [_ends(sketch) for sketch in sketches]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    if whole and round(high) - round(low) < MOST_WHOLE:
        edges: Floats = np.arange(round(low), round(high) + 2, dtype=np.float64) - 0.5
    else:
        whole = False
        edges = _edges(low, high)
    later = _shares(now, edges, whole)
    then = _shares(reference, edges, whole) if reference is not None and reference.count else None
    return tuple(
        Bar(float(edges[i]), float(edges[i + 1]), None if then is None else float(then[i]), float(later[i]))
        for i in range(len(edges) - 1)
    )


def shares(reference: CategorySketch | None, now: CategorySketch) -> tuple[CategoryShare, ...]:
    """The categories that are most frequent in either, by their greater share, and all others together."""
    then = reference if reference is not None and reference.count else None

    def share(sketch: CategorySketch, name: str) -> float:
        return sketch.counts.get(name, 0) / sketch.count if sketch.count else 0.0

    names = {*now.counts, *(then.counts if then else ())}
    largest = {name: max(share(now, name), share(then, name) if then else 0.0) for name in names}
    chosen = sorted(names, key=lambda name: (-largest[name], name))
    if len(chosen) > MOST_CATEGORIES:
        chosen = chosen[: MOST_CATEGORIES - 1]
    made = [CategoryShare(name, share(then, name) if then else None, share(now, name)) for name in chosen]
    rest = 1 - sum(entry.now for entry in made) if now.count else 0.0
    rest_then = 1 - sum(entry.reference or 0.0 for entry in made) if then else None
    if len(chosen) < len(names) or not now.exact:
        made.append(CategoryShare(OTHER, None if rest_then is None else max(rest_then, 0.0), max(rest, 0.0)))
    return tuple(made)


def _ends(sketch: NumberSketch) -> tuple[float, float]:
    """What is worth drawing: without the tails, where there are enough numbers for tails."""
    if sketch.count * _TAIL < 1:
        return sketch.minimum, sketch.maximum
    return sketch.quantile(_TAIL), sketch.quantile(1 - _TAIL)


def _edges(low: float, high: float) -> Floats:
    """Multiples of a round number that cover the range, about `BINS` of them."""
    span = high - low
    if span <= _SPAN_WITHOUT_STEPS * max(abs(low), abs(high)):
        margin = abs(low) * 0.05 or 0.5
        return np.array([low - margin, low + margin])
    step = round_step(span / BINS)
    first, last = math.floor(low / step), math.floor(high / step) + 1
    edges: Floats = np.arange(first, last + 1, dtype=np.float64) * step
    return edges


def round_step(least: float) -> float:
    """The least of 1, 2, 2.5 and 5 times a power of ten that is not less."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= least * (1 - 1e-9))


def _is_whole(sketch: NumberSketch) -> bool:
    """Whether all numbers may be whole, as far as buckets of 1 % can tell: only for small ones."""
    if max(abs(sketch.minimum), abs(sketch.maximum)) > MOST_WHOLE or sketch.minimum % 1 or sketch.maximum % 1:
        return False
    _, values, _ = sketch.points()
    return bool((np.abs(values - np.round(values)) <= 0.0101 * np.abs(values)).all())


def _shares(sketch: NumberSketch, edges: Floats, whole: bool) -> Floats:
    low, high, counts = _buckets(sketch)
    if whole:
        low = high = np.round((low + high) / 2)
    width = high - low
    # Below an edge: of a bucket the part that lies there; of a bucket without any width all or nothing.
    part = (edges[:, None] - low) / np.where(width > 0, width, 1.0)
    below = np.where(width > 0, np.clip(part, 0.0, 1.0), edges[:, None] > low)
    shares: Floats = np.diff(below @ counts) / sketch.count
    return shares


def _buckets(sketch: NumberSketch) -> tuple[Floats, Floats, Floats]:
    """Where each bucket begins and ends, and how many it holds."""
    under, over, zero = _bounds(sketch.negative), _bounds(sketch.positive), np.zeros(int(sketch.zeros > 0))
    low = np.concatenate([-under[1], zero, over[0]])
    high = np.concatenate([-under[0], zero, over[1]])
    counts = np.concatenate([sketch.negative.counts, zero + sketch.zeros, sketch.positive.counts]).astype(np.float64)
    return np.clip(low, sketch.minimum, sketch.maximum), np.clip(high, sketch.minimum, sketch.maximum), counts


def _bounds(buckets: Buckets) -> tuple[Floats, Floats]:
    return lower_bounds(buckets.keys), lower_bounds(buckets.keys + 1)
