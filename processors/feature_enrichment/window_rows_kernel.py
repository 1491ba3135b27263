"""The compiled loops that take window state out, put it back, and free what has expired; see `window_kernel`."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.window_kernel import (
    BUCKET,
    CLOCK,
    EVENTS,
    HEAD,
    NEXT,
    NONE,
    SEEN,
    TIME,
    give_back,
    has_expired,
    take_node,
)

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]
_Bytes = NDArray[np.uint8]


@njit(cache=True, nogil=True)
def lengths(slots: _Ints, heads: _Ints, links: _Ints) -> _Ints:
    """How many buckets each slot holds."""
    found = np.zeros(len(slots), np.int64)
    for i in range(len(slots)):
        node: int = heads[slots[i], HEAD]
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
        node: int = heads[slots[i], HEAD]
        while node != NONE:
            found[at] = node
            at += 1
            node = links[node, NEXT]
    return found


@njit(cache=True, nogil=True)
def alive(slots: _Ints, idle: int, heads: _Ints, links: _Ints, pool: _Ints) -> NDArray[np.bool_]:
    """Which slots hold a key that has not expired; of those that were never used, none does."""
    found = np.zeros(len(slots), np.bool_)
    for i in range(len(slots)):
        slot = slots[i]
        if 0 <= slot < len(heads) and heads[slot, HEAD] != NONE:
            found[i] = not has_expired(slot, idle, heads, links, pool)
    return found


@njit(cache=True, nogil=True)
def sweep(start: int, stop: int, idle: int, heads: _Ints, dirty: _Bytes, links: _Ints, pool: _Ints) -> _Ints:
    """Empty those of the slots from `start` to `stop` whose keys have expired, and return them."""
    found = np.empty(stop - start, np.int64)
    count = 0
    for slot in range(start, stop):
        if has_expired(slot, idle, heads, links, pool):
            give_back(heads[slot, HEAD], links, pool)
            heads[slot, HEAD] = NONE
            dirty[slot] = 0
            found[count] = slot
            count += 1
    return found[:count].copy()


@njit(cache=True, nogil=True)
def restore(
    slots: _Ints,
    counts: _Ints,
    given_seen: _Ints,
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
        give_back(heads[slots[i], HEAD], links, pool)
        heads[slots[i], HEAD] = NONE
        heads[slots[i], SEEN] = given_seen[i]
        pool[CLOCK] = max(pool[CLOCK], given_seen[i])
        before = NONE
        for _ in range(counts[i]):
            node = take_node(links, pool)
            links[node, NEXT] = NONE
            links[node, BUCKET] = given_links[at, BUCKET]
            links[node, EVENTS] = given_links[at, EVENTS]
            links[node, TIME] = given_links[at, TIME]
            for c in range(parts.shape[1]):
                parts[node, c] = given_parts[at, c]
            if before == NONE:
                heads[slots[i], HEAD] = node
            else:
                links[before, NEXT] = node
            before = node
            at += 1
