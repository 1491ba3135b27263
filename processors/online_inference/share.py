"""Which keys a canary answers: a share of them, the same ones for as long as the model is the same."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

# FNV-1a's offset and prime, and MurmurHash3's finaliser.
_OFFSET = np.uint64(14695981039346656037)
_PRIME = np.uint64(1099511628211)
_FIRST = np.uint64(0xFF51AFD7ED558CCD)
_SECOND = np.uint64(0xC4CEB9FE1A85EC53)
_HALF = np.uint64(33)
_TO_53 = np.uint64(11)
_UNIT = 2.0**-53


def in_share(keys: pa.ChunkedArray, ids: pa.ChunkedArray, salt: str, share: float) -> NDArray[np.bool_]:
    """Which events a share of the keys has; an event without a key is chosen by its id.

    The choice depends on the key and the salt, which is the model's version, and on nothing else: a key keeps its
    model, and another canary gets other keys.

    >>> keys, ids = pa.chunked_array([["ann", "bob", "ann", None]]), pa.chunked_array([["1", "2", "3", "4"]])
    >>> in_share(keys, ids, "9f3b1c", 0.5).tolist()
    [True, True, True, False]
    >>> in_share(keys, ids, "9f3b1c", 1.0).all()
    np.True_
    """
    chosen = pc.coalesce(keys.cast(pa.string()), ids.cast(pa.string())).combine_chunks()
    if isinstance(chosen, pa.ChunkedArray):
        chosen = pa.concat_arrays(chosen.chunks) if chosen.num_chunks else pa.array([], pa.string())
    places: NDArray[np.float64] = np.zeros(len(chosen))
    if len(chosen):
        _, offsets, data = chosen.buffers()
        starts = np.frombuffer(offsets, np.int32)[chosen.offset : chosen.offset + len(chosen) + 1]
        text = np.frombuffer(b"\0" if data is None or not data.size else data, np.uint8)
        _place(np.frombuffer(salt.encode(), np.uint8), starts, text, places)
    return np.asarray(places < share)


@njit(cache=True, nogil=True)
def _place(
    salt: NDArray[np.uint8], starts: NDArray[np.int32], text: NDArray[np.uint8], out: NDArray[np.float64]
) -> None:
    """Each key's place in [0, 1)."""
    seed = _OFFSET
    for b in range(len(salt)):
        seed = np.uint64((seed ^ np.uint64(salt[b])) * _PRIME)
    for i in range(len(out)):
        h = seed
        for b in range(starts[i], starts[i + 1]):
            h = np.uint64((h ^ np.uint64(text[b])) * _PRIME)
        h = np.uint64((h ^ (h >> _HALF)) * _FIRST)
        h = np.uint64((h ^ (h >> _HALF)) * _SECOND)
        out[i] = np.float64((h ^ (h >> _HALF)) >> _TO_53) * _UNIT
