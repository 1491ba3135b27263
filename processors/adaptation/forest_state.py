"""A forest as few arrays, for storing: the live trees' nodes one after the other, statistics of leaves alone."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation import adwin_kernel
from tidemill.processors.adaptation.forest_kernel import Trees
from tidemill.schemas.errors import ModelError

Arrays = dict[str, NDArray[Any]]

_LEAVES = (
    *("counts", "subset", "weights", "means", "squares", "low", "high", "tried", "majority_right", "bayes_right"),
)
_INNER = ("threshold", "left")
BY_NODE = ("feature", *_INNER, *_LEAVES)
"""Arrays whose second axis is a node."""
_WHOLE = ("size", "slots", "spare", "windows", "quality", "chance", "resets")


def forest_arrays(trees: Trees) -> Arrays:
    """What answers and learning depend on: a slot that no tree uses is planted anew before it is, so it is left out."""
    live = _live(trees.slots, len(trees.size))
    used = (np.arange(trees.feature.shape[1]) < trees.size[:, None]) & live[:, None]
    leaves = used & (trees.feature < 0)
    inner = used & (trees.feature >= 0)
    found: Arrays = {"feature": trees.feature[used]}
    found |= {name: getattr(trees, name)[inner] for name in _INNER}
    found |= {name: getattr(trees, name)[leaves] for name in _LEAVES}
    found |= {name: getattr(trees, name).copy() for name in _WHOLE}
    found["size"] = np.where(live, trees.size, 0)
    return found


def _live(slots: NDArray[np.int64], count: int) -> NDArray[np.bool_]:
    live = np.zeros(count, dtype=bool)
    live[slots[:, 0]] = True
    live[slots[:, 1][slots[:, 1] >= 0]] = True
    return live


def restored_trees(empty: Trees, found: Arrays, features: int, limit: int) -> Trees:
    """Trees with room for what was saved, from empty ones of the same settings.

    Raises:
        ModelError: the arrays are none that such trees save. Compiled loops trust what they are given.

    """
    wrong = ModelError("a stored forest is not one that this model saves: it was altered")
    if found.keys() != {*BY_NODE, *_WHOLE}:
        raise wrong
    for name in _WHOLE:
        if found[name].shape != getattr(empty, name).shape or found[name].dtype != getattr(empty, name).dtype:
            raise wrong
    size, slots, spare, slot_count = found["size"], found["slots"], found["spare"], len(found["size"])
    if not (_inside(size, 0, limit + 1) and _inside(slots[:, 0], 0, slot_count)):
        raise wrong
    if not (_inside(slots[:, 1], -1, slot_count) and _inside(spare, 0, slot_count)):
        raise wrong
    live = _live(slots, slot_count)
    if (size[live] < 1).any() or (size[~live] != 0).any():
        raise wrong
    room = max(int(size.max()), empty.feature.shape[1])
    used = np.arange(room) < size[:, None]
    if found["feature"].shape != (int(used.sum()),) or not _inside(found["feature"], -1, features):
        raise wrong
    feature = np.full(used.shape, -1)
    feature[used] = found["feature"]
    inner, leaves = used & (feature >= 0), used & (feature < 0)
    filled = {"feature": feature}
    for name, places in [*((name, inner) for name in _INNER), *((name, leaves) for name in _LEAVES)]:
        shape = getattr(empty, name).shape
        array = np.zeros((*used.shape, *shape[2:]), getattr(empty, name).dtype)
        if found[name].shape != (int(places.sum()), *shape[2:]) or found[name].dtype != array.dtype:
            raise wrong
        array[places] = found[name]
        filled[name] = array
    slot, node = np.nonzero(inner)
    children = filled["left"][inner]
    # Children come after their parents, so that every way through a tree ends.
    if not ((children > node) & (children + 1 < size[slot])).all() or not _inside(found["subset"], 0, features):
        raise wrong
    whole = {name: found[name].copy() for name in _WHOLE}
    if not _sound_windows(whole["windows"]):
        raise wrong
    return empty._replace(**filled, **whole)


def _sound_windows(windows: NDArray[np.float64]) -> bool:
    """The number of buckets on each level is what loops go by."""
    used = windows[..., 1:, 0]
    return bool(np.isin(used, np.arange(adwin_kernel.BUCKETS + 1)).all())


def _inside(numbers: NDArray[Any], low: int, high: int) -> bool:
    return bool(((numbers >= low) & (numbers < high)).all())
