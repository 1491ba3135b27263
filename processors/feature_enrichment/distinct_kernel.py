"""The compiled loops over the values that windows tell apart; `distinct_store` owns the arrays.

A key has a linked list of entries for each field: its values by bucket, newest bucket first, each value once in a
bucket. Entries live in one pool, and those that are free form a list of their own. It is a kernel of its own so that
windows without distinct counts neither load nor pass through it.

The last count of each list is remembered and kept up while events stay in its bucket, which in order they mostly do: a
window is walked in full only when a key's bucket changes. What is remembered is what the walk would find.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

# An entry: the next one of its list, its bucket, and the value as 64 bits.
NEXT, BUCKET, VALUE = range(3)
ENTRY = 3

# The pool's two registers: the first free entry, and how many were ever used.
FREE, USED = range(2)
NONE = -1

# What is remembered of a list: the bucket whose window was counted, and the count.
OF_BUCKET, COUNT = range(2)
REMEMBERED = 2

# No bucket at all: of a key that had no event, or of a list that was not counted.
NEVER = np.iinfo(np.int64).min

# 2^64 divided by the golden ratio, as a signed number: multiplying by it spreads values that are close (Knuth, The Art
# of Computer Programming 3, 6.4).
_SPREAD = -7046029254386353131

_Ints = NDArray[np.int64]
_Floats = NDArray[np.float64]


@njit(cache=True, nogil=True)
def update(
    slots: _Ints,
    buckets: _Ints,
    values: _Floats,
    codes: _Ints,
    expired: NDArray[np.uint8],
    fields: _Ints,
    limits: _Ints,
    newest: _Ints,
    heads: _Ints,
    counted: _Ints,
    entries: _Ints,
    pool: _Ints,
    span: int,
    kept: int,
    out: _Ints,
) -> None:
    """Count into `out` what differs in each event's window, up to the limit, then add the event's own values.

    `codes` is [event, list], the values as 64 bits; they are missing where `values` of the list's field is NaN. `heads`
    is [slot, list], `counted` [slot, list, what is remembered]. A slot below zero is an event without a key. The pool
    must have a free entry per event and list. `expired` marks the events before which their key's state is forgotten.
    """
    size = 2
    for d in range(len(limits)):
        while size < 2 * limits[d]:
            size *= 2
    # A hash table for one count at a time: what is not marked with the count's own number is empty.
    table = np.empty(size, np.int64)
    marks = np.zeros(size, np.int64)
    number = 0
    for i in range(len(slots)):
        slot = slots[i]
        if slot < 0:
            continue
        bucket = buckets[i]
        if expired[i]:
            _forget(slot, newest, heads, counted, entries, pool)
        for d in range(len(limits)):
            if counted[slot, d, OF_BUCKET] != bucket:
                number += 1
                counted[slot, d, COUNT] = _count(heads[slot, d], bucket, span, limits[d], entries, table, marks, number)
                counted[slot, d, OF_BUCKET] = bucket
            out[i, d] = counted[slot, d, COUNT]
        if newest[slot] != NEVER and bucket <= newest[slot] - kept:
            continue
        if bucket > newest[slot]:
            newest[slot] = bucket
            for d in range(len(limits)):
                _prune(slot, d, bucket - kept, heads, entries, pool)
        for d in range(len(limits)):
            if not np.isnan(values[i, fields[d]]):
                _add(slot, d, bucket, span, codes[i, d], limits[d], heads, counted, entries, pool)


@njit(cache=True, nogil=True)
def forget(slots: _Ints, newest: _Ints, heads: _Ints, counted: _Ints, entries: _Ints, pool: _Ints) -> None:
    """Empty the slots."""
    for slot in slots:
        _forget(slot, newest, heads, counted, entries, pool)


@njit(cache=True, nogil=True)
def _forget(slot: int, newest: _Ints, heads: _Ints, counted: _Ints, entries: _Ints, pool: _Ints) -> None:
    newest[slot] = NEVER
    for d in range(heads.shape[1]):
        _give_back(heads[slot, d], entries, pool)
        heads[slot, d] = NONE
        counted[slot, d, OF_BUCKET] = NEVER


@njit(cache=True, nogil=True)
def _count(
    entry: int, bucket: int, span: int, limit: int, entries: _Ints, table: _Ints, marks: _Ints, number: int
) -> int:
    found = 0
    while entry != NONE and entries[entry, BUCKET] > bucket:
        entry = entries[entry, NEXT]
    while entry != NONE and entries[entry, BUCKET] > bucket - span and found < limit:
        value = entries[entry, VALUE]
        spread = value * _SPREAD
        place = (spread ^ (spread >> 32)) & (len(table) - 1)
        while marks[place] == number and table[place] != value:
            place = (place + 1) & (len(table) - 1)
        if marks[place] != number:
            marks[place] = number
            table[place] = value
            found += 1
        entry = entries[entry, NEXT]
    return found


@njit(cache=True, nogil=True)
def _prune(slot: int, d: int, oldest: int, heads: _Ints, entries: _Ints, pool: _Ints) -> None:
    """Drop the values of the bucket `oldest` and of those before it."""
    before = NONE
    entry: int = heads[slot, d]
    while entry != NONE and entries[entry, BUCKET] > oldest:
        before = entry
        entry = entries[entry, NEXT]
    if before == NONE:
        heads[slot, d] = NONE
    else:
        entries[before, NEXT] = NONE
    _give_back(entry, entries, pool)


@njit(cache=True, nogil=True)
def _add(
    slot: int,
    d: int,
    bucket: int,
    span: int,
    value: int,
    limit: int,
    heads: _Ints,
    counted: _Ints,
    entries: _Ints,
    pool: _Ints,
) -> None:
    """Put the value first in its bucket, unless it is there or the bucket is full; `counted` is of this bucket."""
    before = NONE
    entry: int = heads[slot, d]
    while entry != NONE and entries[entry, BUCKET] > bucket:
        before = entry
        entry = entries[entry, NEXT]
    following = entry
    there = 0
    while entry != NONE and entries[entry, BUCKET] == bucket:
        there += 1
        if there == limit or entries[entry, VALUE] == value:
            return
        entry = entries[entry, NEXT]
    if counted[slot, d, COUNT] < limit:
        while entry != NONE and entries[entry, BUCKET] > bucket - span and entries[entry, VALUE] != value:
            entry = entries[entry, NEXT]
        if entry == NONE or entries[entry, BUCKET] <= bucket - span:
            counted[slot, d, COUNT] += 1
    made = _take_entry(entries, pool)
    entries[made, NEXT] = following
    entries[made, BUCKET] = bucket
    entries[made, VALUE] = value
    if before == NONE:
        heads[slot, d] = made
    else:
        entries[before, NEXT] = made


@njit(cache=True, nogil=True)
def _take_entry(entries: _Ints, pool: _Ints) -> int:
    entry: int = pool[FREE]
    if entry != NONE:
        pool[FREE] = entries[entry, NEXT]
        return entry
    entry = pool[USED]
    pool[USED] += 1
    return entry


@njit(cache=True, nogil=True)
def _give_back(entry: int, entries: _Ints, pool: _Ints) -> None:
    while entry != NONE:
        following = entries[entry, NEXT]
        entries[entry, NEXT] = pool[FREE]
        pool[FREE] = entry
        entry = following


@njit(cache=True, nogil=True)
def lengths(slots: _Ints, d: int, heads: _Ints, entries: _Ints) -> _Ints:
    """How many entries each slot has in a list."""
    found = np.zeros(len(slots), np.int64)
    for i in range(len(slots)):
        entry: int = heads[slots[i], d]
        while entry != NONE:
            found[i] += 1
            entry = entries[entry, NEXT]
    return found


@njit(cache=True, nogil=True)
def listed(slots: _Ints, d: int, count: int, heads: _Ints, entries: _Ints) -> _Ints:
    """The slots' `count` entries in a list, slot by slot and in the list's order."""
    found = np.empty(count, np.int64)
    at = 0
    for i in range(len(slots)):
        entry: int = heads[slots[i], d]
        while entry != NONE:
            found[at] = entry
            at += 1
            entry = entries[entry, NEXT]
    return found


@njit(cache=True, nogil=True)
def restore(
    slots: _Ints,
    counts: _Ints,
    d: int,
    buckets: _Ints,
    values: _Ints,
    heads: _Ints,
    counted: _Ints,
    entries: _Ints,
    pool: _Ints,
) -> None:
    """Replace the slots' lists by `counts` entries each, in order; of a slot given twice, the later wins."""
    at = 0
    for i in range(len(slots)):
        _give_back(heads[slots[i], d], entries, pool)
        heads[slots[i], d] = NONE
        counted[slots[i], d, OF_BUCKET] = NEVER
        before = NONE
        for _ in range(counts[i]):
            made = _take_entry(entries, pool)
            entries[made, NEXT] = NONE
            entries[made, BUCKET] = buckets[at]
            entries[made, VALUE] = values[at]
            if before == NONE:
                heads[slots[i], d] = made
            else:
                entries[before, NEXT] = made
            before = made
            at += 1
