"""The compiled loops of the adaptive forest; `forest` owns the arrays and says what they mean."""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tidemill.processors.adaptation.adwin_kernel import add, level, reset

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]

GRACE = 50.0
"""Weight of rows that a leaf sees between two attempts at a split."""
CONFIDENCE = 0.01
TIE = 0.05
RATE = 6
"""Mean of the Poisson weights of online bagging."""
WARNING, DRIFT = 0.01, 0.001
_CUTS = 10


class Trees(NamedTuple):
    """Arrays of all trees: the first axis is a slot, the second a node. Twice as many slots as trees: backgrounds."""

    feature: _Integers
    """Feature that a node asks for; -1 for a leaf."""
    threshold: _Floats
    left: _Integers
    """The first child; the second is the next node."""
    size: _Integers
    """Nodes in use, per slot."""
    counts: _Floats
    """Weight of each class in a leaf."""
    subset: _Integers
    """Features that a leaf looks at."""
    weights: _Floats
    means: _Floats
    squares: _Floats
    """Per leaf, feature of its subset and class: weight, mean, sum of squared differences from it (Welford)."""
    low: _Floats
    high: _Floats
    tried: _Floats
    """Weight of a leaf at its last attempt."""
    majority_right: _Floats
    bayes_right: _Floats
    slots: _Integers
    """Per tree: the slot that answers, and that of its background or -1."""
    spare: _Integers
    """Per tree: its other slot."""
    windows: _Floats
    """ADWIN windows: per tree, first for warnings, then for drift."""
    quality: _Floats
    """Per tree: rows judged and rows right since it began."""
    chance: NDArray[np.uint64]
    poisson: _Floats
    resets: _Integers
    """Per tree: how often a background has taken over."""


@njit(cache=True, nogil=True)
def _uniform(chance: NDArray[np.uint64]) -> float:
    """A number from 0 to 1, by splitmix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    chance[0] += np.uint64(0x9E3779B97F4A7C15)
    z = chance[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) / 9007199254740992.0


@njit(cache=True, nogil=True)
def _new_leaf(t: Trees, slot: int, node: int, features: int) -> None:
    t.feature[slot, node] = -1
    t.counts[slot, node] = 0.0
    t.weights[slot, node] = 0.0
    t.means[slot, node] = 0.0
    t.squares[slot, node] = 0.0
    t.low[slot, node] = np.inf
    t.high[slot, node] = -np.inf
    t.tried[slot, node] = 0.0
    t.majority_right[slot, node] = 0.0
    t.bayes_right[slot, node] = 0.0
    wanted = t.subset.shape[2]
    # Selection sampling: each subset is as likely, and comes in ascending order.
    found = 0
    for feature in range(features):
        if _uniform(t.chance) * (features - feature) < wanted - found:
            t.subset[slot, node, found] = feature
            found += 1


@njit(cache=True, nogil=True)
def plant(t: Trees, slot: int, features: int) -> None:
    """Begin a tree anew."""
    t.size[slot] = 1
    _new_leaf(t, slot, 0, features)


@njit(cache=True, nogil=True)
def _leaf(t: Trees, slot: int, row: _Floats) -> int:
    """The leaf that a row falls into; a missing value goes to the second child."""
    node = 0
    while t.feature[slot, node] >= 0:
        node = t.left[slot, node] + (0 if row[t.feature[slot, node]] <= t.threshold[slot, node] else 1)
    return node


@njit(cache=True, nogil=True)
def _bayes(t: Trees, slot: int, node: int, row: _Floats, out: _Floats) -> None:
    """Naive Bayes with Gaussian densities, as probabilities."""
    classes = len(out)
    for c in range(classes):
        out[c] = math.log(t.counts[slot, node, c]) if t.counts[slot, node, c] > 0 else -1e300
    for s in range(t.subset.shape[2]):
        value = row[t.subset[slot, node, s]]
        spread = t.high[slot, node, s] - t.low[slot, node, s]
        if not spread > 0 or math.isnan(value):
            continue
        least = (0.01 * spread) ** 2
        for c in range(classes):
            w = t.weights[slot, node, s, c]
            if w < 2 or out[c] < -1e299:
                continue
            variance = max(t.squares[slot, node, s, c] / (w - 1), least)
            out[c] -= 0.5 * (math.log(variance) + (value - t.means[slot, node, s, c]) ** 2 / variance)
    highest = out.max()
    total = 0.0
    for c in range(classes):
        out[c] = math.exp(max(out[c] - highest, -700.0))
        total += out[c]
    for c in range(classes):
        out[c] /= total


@njit(cache=True, nogil=True)
def _answer(t: Trees, slot: int, node: int, row: _Floats, out: _Floats) -> bool:
    """Probabilities at a leaf: its shares, or naive Bayes if that was right more often. False if it knows nothing."""
    total = t.counts[slot, node].sum()
    if total <= 0:
        return False
    if t.bayes_right[slot, node] > t.majority_right[slot, node]:
        _bayes(t, slot, node, row, out)
    else:
        for c in range(len(out)):
            out[c] = t.counts[slot, node, c] / total
    return True


@njit(cache=True, nogil=True)
def _vote(t: Trees, row: _Floats, answer: _Floats, out: _Floats) -> None:
    """Add up the trees' probabilities, each by the share it was right in."""
    total = 0.0
    for tree in range(len(t.slots)):
        slot = t.slots[tree, 0]
        if not _answer(t, slot, _leaf(t, slot, row), row, out):
            continue
        trust = (t.quality[tree, 1] + 1e-3) / (t.quality[tree, 0] + 1e-3)
        for c in range(len(out)):
            answer[c] += trust * out[c]
        total += trust
    for c in range(len(out)):
        answer[c] = answer[c] / total if total > 0 else 1.0 / len(out)


@njit(cache=True, nogil=True)
def predict(t: Trees, rows: _Floats, answers: _Floats, out: _Floats) -> None:
    """Answer rows without learning; `answers` begins as zeros."""
    for i in range(len(rows)):
        _vote(t, rows[i], answers[i], out)


@njit(cache=True, nogil=True)
def _entropy(counts: _Floats) -> float:
    total = counts.sum()
    if total <= 0:
        return 0.0
    found = 0.0
    for count in counts:
        if count > 0:
            found -= count / total * math.log2(count / total)
    return found


@njit(cache=True, nogil=True)
def _below(t: Trees, slot: int, node: int, s: int, cut: float, out: _Floats) -> None:
    """Estimated weight of each class at or below a cut."""
    spread = t.high[slot, node, s] - t.low[slot, node, s]
    for c in range(len(out)):
        w = t.weights[slot, node, s, c]
        deviation = math.sqrt(t.squares[slot, node, s, c] / (w - 1)) if w > 1 else 0.0
        if deviation > 1e-9 * spread:
            share = 0.5 * (1 + math.erf((cut - t.means[slot, node, s, c]) / (deviation * math.sqrt(2.0))))
        else:
            share = 1.0 if t.means[slot, node, s, c] <= cut else 0.0
        out[c] = w * share


@njit(cache=True, nogil=True)
def _try_split(t: Trees, slot: int, node: int, features: int, below: _Floats, above: _Floats) -> None:
    """Split a leaf if its best cut is surely better than the next feature's (Domingos and Hulten, KDD 2000)."""
    if t.size[slot] + 2 > t.feature.shape[1]:
        return
    counts = t.counts[slot, node]
    classes, total = len(counts), counts.sum()
    before = _entropy(counts)
    if before <= 0:
        return
    best, second, at, cut_at = 0.0, 0.0, -1, 0.0
    for s in range(t.subset.shape[2]):
        low, high = t.low[slot, node, s], t.high[slot, node, s]
        if not high > low:
            continue
        most, where = 0.0, low
        for i in range(1, _CUTS + 1):
            cut = low + (high - low) * i / (_CUTS + 1)
            _below(t, slot, node, s, cut, below)
            for c in range(classes):
                above[c] = max(t.weights[slot, node, s, c] - below[c], 0.0)
            lower, upper = below.sum(), above.sum()
            if min(lower, upper) < 0.01 * (lower + upper):
                continue
            merit = before - (lower * _entropy(below) + upper * _entropy(above)) / (lower + upper)
            if merit > most:
                most, where = merit, cut
        if most > best:
            second, best, at, cut_at = best, most, s, where
        elif most > second:
            second = most
    bound = math.sqrt(math.log2(max(classes, 2)) ** 2 * math.log(1 / CONFIDENCE) / (2 * total))
    if at < 0 or (best - second <= bound and bound >= TIE):
        return
    first = t.size[slot]
    t.size[slot] += 2
    _below(t, slot, node, at, cut_at, below)
    for child in range(2):
        _new_leaf(t, slot, first + child, features)
        for c in range(classes):
            share = below[c] if child == 0 else max(t.weights[slot, node, at, c] - below[c], 0.0)
            t.counts[slot, first + child, c] = share
        t.tried[slot, first + child] = t.counts[slot, first + child].sum()
    t.threshold[slot, node] = cut_at
    t.left[slot, node] = first
    t.feature[slot, node] = t.subset[slot, node, at]


@njit(cache=True, nogil=True)
def _learn(t: Trees, slot: int, row: _Floats, label: int, weight: float, out: _Floats, spare: _Floats) -> None:
    node = _leaf(t, slot, row)
    counts = t.counts[slot, node]
    if counts.sum() > 0:
        if counts.argmax() == label:
            t.majority_right[slot, node] += weight
        _bayes(t, slot, node, row, out)
        if out.argmax() == label:
            t.bayes_right[slot, node] += weight
    counts[label] += weight
    for s in range(t.subset.shape[2]):
        value = row[t.subset[slot, node, s]]
        if math.isnan(value):
            continue
        t.low[slot, node, s] = min(t.low[slot, node, s], value)
        t.high[slot, node, s] = max(t.high[slot, node, s], value)
        t.weights[slot, node, s, label] += weight
        difference = value - t.means[slot, node, s, label]
        t.means[slot, node, s, label] += weight * difference / t.weights[slot, node, s, label]
        t.squares[slot, node, s, label] += weight * difference * (value - t.means[slot, node, s, label])
    total = counts.sum()
    if total - t.tried[slot, node] >= GRACE:
        t.tried[slot, node] = total
        _try_split(t, slot, node, len(row), out, spare)


@njit(cache=True, nogil=True)
def learn(t: Trees, rows: _Floats, labels: _Integers, answers: _Floats, out: _Floats, spare: _Floats) -> None:
    """Take rows in their order; every tree answers each, and is judged by it, before it learns it."""
    for i in range(len(rows)):
        row, label = rows[i], labels[i]
        _vote(t, row, answers[i], out)
        for tree in range(len(t.slots)):
            slot = t.slots[tree, 0]
            known = _answer(t, slot, _leaf(t, slot, row), row, out)
            wrong = 0.0 if known and out.argmax() == label else 1.0
            t.quality[tree, 0] += 1
            t.quality[tree, 1] += 1 - wrong
            draw, weight = _uniform(t.chance), 0
            while weight < len(t.poisson) - 1 and draw > t.poisson[weight]:
                weight += 1
            if weight > 0:
                _learn(t, slot, row, label, float(weight), out, spare)
                if t.slots[tree, 1] >= 0:
                    _learn(t, t.slots[tree, 1], row, label, float(weight), out, spare)
            before = level(t.windows[tree, 0])
            if add(t.windows[tree, 0], wrong, WARNING) and level(t.windows[tree, 0]) > before:
                plant(t, t.spare[tree], rows.shape[1])
                t.slots[tree, 1] = t.spare[tree]
            before = level(t.windows[tree, 1])
            if add(t.windows[tree, 1], wrong, DRIFT) and level(t.windows[tree, 1]) > before:
                if t.slots[tree, 1] < 0:
                    plant(t, t.spare[tree], rows.shape[1])
                t.slots[tree, 0], t.slots[tree, 1], t.spare[tree] = t.spare[tree], -1, slot
                reset(t.windows[tree, 0])
                reset(t.windows[tree, 1])
                t.quality[tree] = 0.0
                t.resets[tree] += 1


@njit(cache=True, nogil=True)
def interleave(
    t: Trees,
    asked: _Floats,
    rows: _Floats,
    labels: _Integers,
    given: _Floats,
    answers: _Floats,
    out: _Floats,
    spare: _Floats,
) -> None:
    """Answer a row, then learn another, in turn."""
    for i in range(len(asked)):
        _vote(t, asked[i], given[i], out)
        learn(t, rows[i : i + 1], labels[i : i + 1], answers[i : i + 1], out, spare)
