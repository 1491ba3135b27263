"""The compiled loops over window state; `window_store` owns the arrays, `window` says what they mean.

A key's buckets are a linked list of nodes, newest first. Nodes live in one pool, and those that are free form a list of
their own. Sums are taken in log order within a bucket and from the newest bucket to the oldest between them, so that
no result depends on how the log was cut. The arguments have the same types for every window: one compilation serves
all.

The inner loops index elements and take no views of rows: numba counts references to those, which costs more than the
work itself.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

# What a node holds beside its values: the node of the next older bucket, its own bucket, and how many events it had.
NEXT, BUCKET, EVENTS = range(3)
LINKS = 3

# What is kept of a field in a bucket: how many values, their sum, least, greatest, and the last in log order.
N, SUM, MIN, MAX, LAST = range(5)
PARTS = 5

# What an aggregate makes of them. OF_EVENTS needs no field.
OF_EVENTS, OF_COUNT, OF_SUM, OF_MEAN, OF_MIN, OF_MAX, OF_LAST, OF_DECAYED_MEAN = range(8)

# The pool's two registers: the first free node, and how many nodes were ever used.
FREE, USED = range(2)
NONE = -1

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]
_Bytes = NDArray[np.uint8]


@njit(cache=True, nogil=True)
def update(
    slots: _Ints,
    buckets: _Ints,
    values: _Floats,
    heads: _Ints,
    dirty: _Bytes,
    links: _Ints,
    parts: _Floats,
    pool: _Ints,
    span: int,
    kept: int,
    aggregates: _Ints,
    weights: _Floats,
    out: _Floats,
    valid: _Bytes,
) -> None:
    """Read each event's window into a row of `out`, then add the event; a slot below zero is an event without a key.

    `values` is [event, field] with NaN for what is missing; `parts` is [node, field, part]; `aggregates` is [aggregate,
    (code, field, row of weights)]. `out` and `valid` come zeroed. The pool must have a free node per event.
    """
    seen = np.empty(len(aggregates), np.float64)
    newest = np.empty(len(aggregates), np.int64)
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0:
            continue
        bucket = buckets[i]
        for a in range(len(aggregates)):
            seen[a] = 0.0
        node = heads[slot]
        while node != NONE and links[node, BUCKET] > bucket:
            node = links[node, NEXT]
        while node != NONE and links[node, BUCKET] > bucket - span:
            _combine(node, links, parts, aggregates, weights, seen, newest, i, out)
            node = links[node, NEXT]
        for a in range(len(aggregates)):
            code = aggregates[a, 0]
            valid[i, a] = code <= OF_SUM or seen[a] > 0.0
            if code in (OF_MEAN, OF_DECAYED_MEAN) and seen[a] > 0.0:
                out[i, a] /= seen[a]

        node = _place(slot, bucket, kept, heads, links, parts, pool)
        if node != NONE:
            dirty[slot] = 1
            _add(node, i, values, links, parts)


@njit(cache=True, nogil=True)
def _combine(
    node: int,
    links: _Ints,
    parts: _Floats,
    aggregates: _Ints,
    weights: _Floats,
    seen: _Floats,
    newest: _Ints,
    i: int,
    out: _Floats,
) -> None:
    """Add an older bucket to the event's row of `out`; `seen` counts the values, with their weights if decayed."""
    for a in range(len(aggregates)):
        code = aggregates[a, 0]
        if code == OF_EVENTS:
            out[i, a] += links[node, EVENTS]
            continue
        f = aggregates[a, 1]
        n = parts[node, f, N]
        if n == 0.0:
            continue
        if code == OF_COUNT:
            out[i, a] += n
        elif code in (OF_SUM, OF_MEAN):
            out[i, a] += parts[node, f, SUM]
        elif code == OF_MIN:
            if seen[a] == 0.0 or parts[node, f, MIN] < out[i, a]:
                out[i, a] = parts[node, f, MIN]
        elif code == OF_MAX:
            if seen[a] == 0.0 or parts[node, f, MAX] > out[i, a]:
                out[i, a] = parts[node, f, MAX]
        elif code == OF_LAST:
            if seen[a] == 0.0:
                out[i, a] = parts[node, f, LAST]
        else:
            # Ages count from the newest bucket that has values: a common factor of the weights cancels, and so the
            # largest is always 1, however long ago that bucket was.
            if seen[a] == 0.0:
                newest[a] = links[node, BUCKET]
            weight = weights[aggregates[a, 2], newest[a] - links[node, BUCKET]]
            out[i, a] += weight * parts[node, f, SUM]
            n *= weight
        seen[a] += n


@njit(cache=True, nogil=True)
def _place(slot: int, bucket: int, kept: int, heads: _Ints, links: _Ints, parts: _Floats, pool: _Ints) -> int:
    """The node of the key's bucket, made where it was missing; NONE if the bucket is too old to be kept."""
    before = NONE
    node: int = heads[slot]
    if node != NONE and bucket <= links[node, BUCKET] - kept:
        return NONE
    while node != NONE and links[node, BUCKET] > bucket:
        before = node
        node = links[node, NEXT]
    if node != NONE and links[node, BUCKET] == bucket:
        return node
    made: int = _take_node(links, pool)
    links[made, NEXT] = node
    links[made, BUCKET] = bucket
    links[made, EVENTS] = 0
    for f in range(parts.shape[1]):
        parts[made, f, N] = 0.0
        parts[made, f, SUM] = 0.0
        parts[made, f, MIN] = np.inf
        parts[made, f, MAX] = -np.inf
        parts[made, f, LAST] = np.nan
    if before != NONE:
        links[before, NEXT] = made
        return made
    heads[slot] = made
    end = made
    while links[end, NEXT] != NONE and links[links[end, NEXT], BUCKET] > bucket - kept:
        end = links[end, NEXT]
    _give_back(links[end, NEXT], links, pool)
    links[end, NEXT] = NONE
    return made


@njit(cache=True, nogil=True)
def _add(node: int, i: int, values: _Floats, links: _Ints, parts: _Floats) -> None:
    links[node, EVENTS] += 1
    for f in range(values.shape[1]):
        value = values[i, f]
        if not np.isnan(value):
            parts[node, f, N] += 1.0
            parts[node, f, SUM] += value
            parts[node, f, MIN] = min(parts[node, f, MIN], value)
            parts[node, f, MAX] = max(parts[node, f, MAX], value)
            parts[node, f, LAST] = value


@njit(cache=True, nogil=True)
def _take_node(links: _Ints, pool: _Ints) -> int:
    node: int = pool[FREE]
    if node != NONE:
        pool[FREE] = links[node, NEXT]
        return node
    node = pool[USED]
    pool[USED] += 1
    return node


@njit(cache=True, nogil=True)
def _give_back(node: int, links: _Ints, pool: _Ints) -> None:
    while node != NONE:
        following = links[node, NEXT]
        links[node, NEXT] = pool[FREE]
        pool[FREE] = node
        node = following


@njit(cache=True, nogil=True)
def lengths(slots: _Ints, heads: _Ints, links: _Ints) -> _Ints:
    """How many buckets each slot holds."""
    found = np.zeros(len(slots), np.int64)
    for i in range(len(slots)):
        node: int = heads[slots[i]]
        while node != NONE:
            found[i] += 1
            node = links[node, NEXT]
    return found


@njit(cache=True, nogil=True)
def nodes(slots: _Ints, count: int, heads: _Ints, links: _Ints) -> _Ints:
    """The slots' `count` nodes, slot by slot and newest first."""
    found = np.empty(count, np.int64)
    at = 0
    for i in range(len(slots)):
        node: int = heads[slots[i]]
        while node != NONE:
            found[at] = node
            at += 1
            node = links[node, NEXT]
    return found


@njit(cache=True, nogil=True)
def restore(
    slots: _Ints,
    counts: _Ints,
    given_links: _Ints,
    given_parts: _Floats,
    heads: _Ints,
    links: _Ints,
    parts: _Floats,
    pool: _Ints,
) -> None:
    """Replace what the slots hold by `counts` nodes each, given newest first; of a slot given twice, the later wins."""
    at = 0
    for i in range(len(slots)):
        _give_back(heads[slots[i]], links, pool)
        heads[slots[i]] = NONE
        before = NONE
        for _ in range(counts[i]):
            node = _take_node(links, pool)
            links[node, NEXT] = NONE
            links[node, BUCKET] = given_links[at, BUCKET]
            links[node, EVENTS] = given_links[at, EVENTS]
            for f in range(parts.shape[1]):
                for p in range(PARTS):
                    parts[node, f, p] = given_parts[at, f, p]
            if before == NONE:
                heads[slots[i]] = node
            else:
                links[before, NEXT] = node
            before = node
            at += 1
