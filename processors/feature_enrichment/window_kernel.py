"""The compiled loops over window state; `window_store` owns the arrays, `window` says what they mean.

A key's buckets are a linked list of nodes, newest first. Nodes live in one pool, and those that are free form a list of
their own. Sums are taken in log order within a bucket and from the newest bucket to the oldest between them, so that
no result depends on how the log was cut. The arguments have the same types for every window: one compilation serves
all.

The inner loops index elements and take no views of rows: numba counts references to those, which costs more than the
work itself.
"""

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

# What a node holds beside its values: the node of the next older bucket, its own bucket, how many events it had, and
# the time of the last of them in log order.
NEXT, BUCKET, EVENTS, TIME = range(4)
LINKS = 4

# What can be kept of a field in a bucket: how many values, their sum, mean, squared deviations from that, least,
# greatest, and the first and last in log order. Only what the window reads has a column.
N, SUM, MEAN, M2, MIN, MAX, FIRST, LAST = range(8)
_EMPTY = (0.0, 0.0, 0.0, 0.0, np.inf, -np.inf, np.nan, np.nan)

# What a column of values is: its part, its field, and the column of that field's N. N comes before the field's others,
# and MEAN right before M2, which keeps both.
PART, FIELD, OWN_N = range(3)

# What an aggregate makes of them, from which column, with which column of N, and which row of weights.
CODE, COLUMN, COUNTED, WEIGHTS = range(4)
# OF_EVENTS and OF_TIME need no columns. Those up to OF_SUM are never null.
OF_EVENTS, OF_COUNT, OF_SUM, OF_TIME, OF_MEAN, OF_STD, OF_MIN, OF_MAX, OF_FIRST, OF_LAST, OF_DECAYED_MEAN = range(11)

# What a key has: its newest node, and the clock's bucket when an event was last added to it.
HEAD, SEEN = range(2)
SLOT = 2

# The registers: the first free node, how many nodes were ever used, the clock (the latest bucket of any key's event),
# and how many slots are on the list of those written to.
FREE, USED, CLOCK, WRITTEN = range(4)
NONE = -1
# Before every bucket, and near enough to all of them that differences stay in range.
NEVER = -(2**62)

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]
_Bytes = NDArray[np.uint8]


@njit(cache=True, nogil=True)
def update(
    slots: _Ints,
    times: _Ints,
    buckets: _Ints,
    ticks: _Ints,
    values: _Floats,
    heads: _Ints,
    dirty: _Bytes,
    written: _Ints,
    links: _Ints,
    columns: _Ints,
    parts: _Floats,
    pool: _Ints,
    span: int,
    kept: int,
    idle: int,
    aggregates: _Ints,
    weights: _Floats,
    out: _Floats,
    valid: _Bytes,
    expired: _Bytes,
) -> None:
    """Read each event's window into a row of `out`, then add the event; a slot below zero is an event without a key.

    `times` are microseconds, any two less than 2^63 apart. `values` is [event, field] with NaN for what is missing;
    `parts` is [node, column]. `out`, `valid` and `expired` come zeroed. The pool must have a free node per event, and
    `written` room for as many slots.

    Each event with a key moves the clock to its bucket of `ticks`, if that is later. A key that has expired is as one
    that never was; `expired` marks the event that finds this out.
    """
    seen = np.empty(len(aggregates), np.float64)
    means = np.empty(len(aggregates), np.float64)
    newest = np.empty(len(aggregates), np.int64)
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0:
            continue
        bucket = buckets[i]
        moves = ticks[i] > pool[CLOCK]
        if moves:
            pool[CLOCK] = ticks[i]
        if has_expired(slot, idle, heads, links, pool):
            give_back(heads[slot, HEAD], links, pool)
            heads[slot, HEAD] = NONE
            expired[i] = 1
        for a in range(len(aggregates)):
            seen[a] = 0.0
        node = heads[slot, HEAD]
        while node != NONE and links[node, BUCKET] > bucket:
            node = links[node, NEXT]
        while node != NONE and links[node, BUCKET] > bucket - span:
            _combine(node, times[i], links, parts, aggregates, weights, seen, means, newest, i, out)
            node = links[node, NEXT]
        for a in range(len(aggregates)):
            code = aggregates[a, CODE]
            valid[i, a] = code <= OF_SUM or seen[a] > (1.0 if code == OF_STD else 0.0)
            if valid[i, a] == 1:
                if code in (OF_MEAN, OF_DECAYED_MEAN):
                    out[i, a] /= seen[a]
                elif code == OF_STD:
                    out[i, a] = math.sqrt(out[i, a] / (seen[a] - 1.0))

        node = _place(slot, bucket, kept, heads, links, columns, parts, pool)
        if node != NONE:
            links[node, EVENTS] += 1
            links[node, TIME] = times[i]
            _add(node, i, values, columns, parts)
        # The clock is the greatest SEEN, so that it comes back with the state.
        if node != NONE or moves:
            heads[slot, SEEN] = pool[CLOCK]
            if not dirty[slot]:
                dirty[slot] = 1
                written[pool[WRITTEN]] = slot
                pool[WRITTEN] += 1


@njit(cache=True, nogil=True, inline="always")
def has_expired(slot: int, idle: int, heads: _Ints, links: _Ints, pool: _Ints) -> bool:
    """Whether the slot's key was given nothing while the clock moved by `idle` buckets, and lies as far behind it."""
    node = heads[slot, HEAD]
    if node == NONE or pool[CLOCK] - heads[slot, SEEN] < idle:
        return False
    return bool(pool[CLOCK] - links[node, BUCKET] >= idle)


@njit(cache=True, nogil=True, inline="always")
def _combine(
    node: int,
    time: int,
    links: _Ints,
    parts: _Floats,
    aggregates: _Ints,
    weights: _Floats,
    seen: _Floats,
    means: _Floats,
    newest: _Ints,
    i: int,
    out: _Floats,
) -> None:
    """Add an older bucket to the event's row of `out`; `seen` counts the values, with their weights if decayed."""
    for a in range(len(aggregates)):
        code = aggregates[a, CODE]
        if code == OF_EVENTS:
            out[i, a] += links[node, EVENTS]
            continue
        if code == OF_TIME:
            if seen[a] == 0.0:
                out[i, a] = (time - links[node, TIME]) / 1e6
                seen[a] = 1.0
            continue
        n = parts[node, aggregates[a, COUNTED]]
        if n == 0.0:
            continue
        value = parts[node, aggregates[a, COLUMN]]
        if code in (OF_COUNT, OF_SUM, OF_MEAN):
            out[i, a] += value
        elif code == OF_MIN:
            if seen[a] == 0.0 or value < out[i, a]:
                out[i, a] = value
        elif code == OF_MAX:
            if seen[a] == 0.0 or value > out[i, a]:
                out[i, a] = value
        elif code == OF_FIRST:
            out[i, a] = value
        elif code == OF_LAST:
            if seen[a] == 0.0:
                out[i, a] = value
        elif code == OF_STD:
            mean = parts[node, aggregates[a, COLUMN] - 1]
            if seen[a] == 0.0:
                out[i, a] = value
                means[a] = mean
            else:
                delta = mean - means[a]
                together = seen[a] + n
                out[i, a] += value + delta * delta * (seen[a] * n / together)
                means[a] += delta * (n / together)
        else:
            # Ages count from the newest bucket that has values: a common factor of the weights cancels, and so the
            # largest is always 1, however long ago that bucket was.
            if seen[a] == 0.0:
                newest[a] = links[node, BUCKET]
            weight = weights[aggregates[a, WEIGHTS], newest[a] - links[node, BUCKET]]
            out[i, a] += weight * value
            n *= weight
        seen[a] += n


@njit(cache=True, nogil=True)
def _place(
    slot: int, bucket: int, kept: int, heads: _Ints, links: _Ints, columns: _Ints, parts: _Floats, pool: _Ints
) -> int:
    """The node of the key's bucket, made where it was missing; NONE if the bucket is too old to be kept."""
    before = NONE
    node: int = heads[slot, HEAD]
    if node != NONE and bucket <= links[node, BUCKET] - kept:
        return NONE
    while node != NONE and links[node, BUCKET] > bucket:
        before = node
        node = links[node, NEXT]
    if node != NONE and links[node, BUCKET] == bucket:
        return node
    made: int = take_node(links, pool)
    links[made, NEXT] = node
    links[made, BUCKET] = bucket
    links[made, EVENTS] = 0
    for c in range(len(columns)):
        parts[made, c] = _EMPTY[columns[c, PART]]
    if before != NONE:
        links[before, NEXT] = made
        return made
    heads[slot, HEAD] = made
    end = made
    while links[end, NEXT] != NONE and links[links[end, NEXT], BUCKET] > bucket - kept:
        end = links[end, NEXT]
    give_back(links[end, NEXT], links, pool)
    links[end, NEXT] = NONE
    return made


@njit(cache=True, nogil=True, inline="always")
def _add(node: int, i: int, values: _Floats, columns: _Ints, parts: _Floats) -> None:
    for c in range(len(columns)):
        value = values[i, columns[c, FIELD]]
        if np.isnan(value):
            continue
        part = columns[c, PART]
        if part == N:
            parts[node, c] += 1.0
        elif part == SUM:
            parts[node, c] += value
        elif part == MIN:
            parts[node, c] = min(parts[node, c], value)
        elif part == MAX:
            parts[node, c] = max(parts[node, c], value)
        elif part == FIRST:
            if np.isnan(parts[node, c]):
                parts[node, c] = value
        elif part == LAST:
            parts[node, c] = value
        elif part == M2:
            delta = value - parts[node, c - 1]
            parts[node, c - 1] += delta / parts[node, columns[c, OWN_N]]
            parts[node, c] += delta * (value - parts[node, c - 1])


@njit(cache=True, nogil=True)
def take_node(links: _Ints, pool: _Ints) -> int:
    """A free node, or one that was never used."""
    node: int = pool[FREE]
    if node != NONE:
        pool[FREE] = links[node, NEXT]
        return node
    node = pool[USED]
    pool[USED] += 1
    return node


@njit(cache=True, nogil=True)
def give_back(node: int, links: _Ints, pool: _Ints) -> None:
    """Free the node and those after it."""
    while node != NONE:
        following = links[node, NEXT]
        links[node, NEXT] = pool[FREE]
        pool[FREE] = node
        node = following
