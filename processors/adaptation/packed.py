"""State as bytes: what JSON can hold and arrays of numbers, compressed. Reading them runs no code but this."""

import json
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.schemas.errors import ModelError

Arrays = dict[str, NDArray[Any]]

KINDS = frozenset({"<f4", "<f8", "<i4", "<i8", "<u8", "|u1"})
_LEVEL = 6


def pack(kept: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """The same state gives the same bytes.

    The bytes of each array's numbers are stored by their significance, the first of all, then the second of all:
    neighbours are then alike, and compress.
    """
    heads, parts = [], []
    for name, array in arrays.items():
        flat = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        if flat.dtype.str not in KINDS:
            raise ModelError(f"expected numbers to store as {name}, got {flat.dtype}")
        heads.append([name, flat.dtype.str, list(flat.shape)])
        parts.append(flat.reshape(-1).view(np.uint8).reshape(-1, flat.dtype.itemsize).T.tobytes())
    head = json.dumps({"kept": kept, "arrays": heads}).encode()
    return zlib.compress(b"".join([len(head).to_bytes(8, "little"), head, *parts]), _LEVEL)


def unpack(data: bytes) -> tuple[dict[str, Any], Arrays]:
    """What was packed.

    Raises:
        ModelError: it was not packed by `pack`.

    """
    try:
        whole = zlib.decompress(data)
        size = int.from_bytes(whole[:8], "little")
        head, at = json.loads(whole[8 : 8 + size]), 8 + size
        arrays: Arrays = {}
        for name, kind, shape in head["arrays"]:
            if kind not in KINDS or any(type(length) is not int or length < 0 for length in shape):
                raise ModelError(f"a stored model has an array of {kind!r} × {shape}: it was altered")
            dtype = np.dtype(kind)
            count = int(np.prod(shape, dtype=object))
            shuffled = np.frombuffer(whole, np.uint8, count * dtype.itemsize, at).reshape(dtype.itemsize, count)
            # A copy that can be written to: compiled loops are compiled again for what cannot.
            arrays[name] = np.array(shuffled.T, order="C").reshape(-1).view(dtype).reshape(shape)
            at += count * dtype.itemsize
        return head["kept"], arrays
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise ModelError(f"a stored model cannot be read ({type(error).__name__}: {error}): it was altered") from None
