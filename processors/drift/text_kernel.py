"""Text to one of a few buckets, by a hash of its bytes (FNV-1a, folded), straight from Arrow's buffers."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

HASH_BUCKETS = 256
_BASIS = np.uint64(14695981039346656037)
_PRIME = np.uint64(1099511628211)
_FOLD = np.uint64(33)
_MASK = np.uint64(HASH_BUCKETS - 1)


@njit(cache=True, nogil=True)
def tally(
    text: NDArray[np.uint8], offsets: NDArray[np.int64], counts: NDArray[np.int64], buckets: NDArray[np.int64]
) -> None:
    """Count each text, which stands between two offsets, as often as `counts` says in the bucket of its hash."""
    for i in range(len(counts)):
        digest = _BASIS
        for b in range(offsets[i], offsets[i + 1]):
            digest = (digest ^ np.uint64(text[b])) * _PRIME
        # The low bits of FNV depend on the low bits of the bytes alone.
        digest ^= digest >> _FOLD
        buckets[np.int64(digest & _MASK)] += counts[i]
