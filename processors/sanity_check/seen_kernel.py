"""The compiled loops over remembered ids; `seen_ids` owns the arrays."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

# The registers: the stream time, and how many slots are on the list of those written to.
CLOCK, WRITTEN = range(2)
# Before every time: stream time at first; of a slot, that it is free.
NEVER = np.iinfo(np.int64).min
# Of a slot whose id came when it was too old to be remembered.
_UNREMEMBERED = NEVER + 1
# What a span can be taken from.
_FIRST = NEVER // 2

_Ints = NDArray[np.int64]


@njit(cache=True, nogil=True)
def oldest(clock: int, within: int) -> int:
    """The earliest time that is remembered."""
    return max(clock, _FIRST) - within


@njit(cache=True, nogil=True)
def check(
    slots: _Ints,
    times: _Ints,
    within: int,
    seen: _Ints,
    dirty: NDArray[np.uint8],
    written: _Ints,
    registers: _Ints,
    duplicate: NDArray[np.bool_],
) -> None:
    """Say of each event whether its id is remembered, and remember it; `written` has room for as many slots."""
    for i in range(len(slots)):
        slot = slots[i]
        if seen[slot] == NEVER:
            seen[slot] = _UNREMEMBERED
        registers[CLOCK] = max(registers[CLOCK], times[i])
        least = oldest(registers[CLOCK], within)
        if seen[slot] >= least:
            duplicate[i] = True
        elif times[i] >= least:
            seen[slot] = times[i]
            if not dirty[slot]:
                dirty[slot] = 1
                written[registers[WRITTEN]] = slot
                registers[WRITTEN] += 1


@njit(cache=True, nogil=True)
def sweep(start: int, stop: int, least: int, seen: _Ints, dirty: NDArray[np.uint8]) -> _Ints:
    """Free those of the slots from `start` to `stop` whose ids were seen before `least`, and return them."""
    found = np.empty(stop - start, np.int64)
    count = 0
    for slot in range(start, stop):
        if NEVER < seen[slot] < least:
            seen[slot] = NEVER
            dirty[slot] = 0
            found[count] = slot
            count += 1
    return found[:count].copy()
