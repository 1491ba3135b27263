"""An adaptive random forest that learns row by row, compiled."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidemill.processors.adaptation import adwin_kernel, forest_kernel
from tidemill.processors.adaptation.forest_state import BY_NODE, forest_arrays, restored_trees

_Floats = NDArray[np.float64]
_Integers = NDArray[np.int64]
Arrays = dict[str, NDArray[Any]]

_ROOM = 64
"""Nodes of a tree at first; there is always room for what the next rows can add."""


class AdaptiveForest:
    """Adaptive random forest (Gomes et al., Machine Learning, 2017) over columns of numbers.

    Hoeffding trees with online bagging, each leaf looks at a random subset of features; a tree whose errors become
    more frequent is replaced by one that was begun at the first warning. `rows` are (n × features) float64, NaN where
    a value is missing; labels are class codes 0 … classes - 1. A tree has at most `nodes`.
    """

    def __init__(self, features: int, classes: int, *, trees: int = 10, nodes: int = 1_000, seed: int = 1) -> None:
        subset = min(features, round(math.sqrt(features)) + 1)
        self._limit = nodes
        slots, shape = 2 * trees, (2 * trees, min(nodes, _ROOM))
        leaf = (*shape, subset)
        share, poisson = math.exp(-forest_kernel.RATE), list[float]()
        for i in range(5 * forest_kernel.RATE):
            poisson.append(share + (poisson[-1] if poisson else 0.0))
            share *= forest_kernel.RATE / (i + 1)
        self._features, self._classes = features, classes
        order = np.arange(trees)
        self._trees = forest_kernel.Trees(
            feature=np.full(shape, -1),
            threshold=np.zeros(shape),
            left=np.zeros(shape, np.int64),
            size=np.zeros(slots, np.int64),
            counts=np.zeros((*shape, classes)),
            subset=np.zeros(leaf, np.int64),
            weights=np.zeros((*leaf, classes)),
            means=np.zeros((*leaf, classes)),
            squares=np.zeros((*leaf, classes)),
            low=np.zeros(leaf),
            high=np.zeros(leaf),
            tried=np.zeros(shape),
            majority_right=np.zeros(shape),
            bayes_right=np.zeros(shape),
            slots=np.column_stack([order, np.full(trees, -1)]),
            spare=order + trees,
            windows=np.zeros((trees, 2, *adwin_kernel.SHAPE)),
            quality=np.zeros((trees, 2)),
            chance=np.array([seed], np.uint64),
            poisson=np.array(poisson),
            resets=np.zeros(trees, np.int64),
        )
        for slot in range(trees):
            forest_kernel.plant(self._trees, slot, features)
        self._out, self._spare = np.zeros(classes), np.zeros(classes)

    def learn(self, rows: _Floats, labels: _Integers) -> _Floats:
        """Learn rows in their order; the probabilities (n × classes) that each was answered with just before."""
        self._reserve(len(rows))
        answers = np.zeros((len(rows), self._classes))
        forest_kernel.learn(self._trees, rows, labels, answers, self._out, self._spare)
        return answers

    def predict(self, rows: _Floats) -> _Floats:
        """Probabilities (n × classes)."""
        answers = np.zeros((len(rows), self._classes))
        forest_kernel.predict(self._trees, rows, answers, self._out)
        return answers

    def interleave(self, asked: _Floats, rows: _Floats, labels: _Integers) -> tuple[_Floats, _Floats]:
        """For each place: predict the row asked, then learn the other. The answers to both, as those methods give."""
        self._reserve(len(rows))
        given, answers = np.zeros((len(asked), self._classes)), np.zeros((len(rows), self._classes))
        forest_kernel.interleave(self._trees, asked, rows, labels, given, answers, self._out, self._spare)
        return given, answers

    def _reserve(self, rows: int) -> None:
        """Room for the nodes that so many rows can add: two a row, to any tree."""
        room = self._trees.feature.shape[1]
        needed = min(int(self._trees.size.max()) + 2 * rows, self._limit)
        if needed <= room:
            return
        more = min(max(needed, 2 * room), self._limit) - room
        wider = {
            name: np.pad(array, [(0, 0), (0, more), *[(0, 0)] * (array.ndim - 2)])
            for name, array in self._trees._asdict().items()
            if name in BY_NODE
        }
        self._trees = self._trees._replace(**wider)

    def saved(self) -> Arrays:
        """What it has learnt, without what no answer or later split depends on."""
        return forest_arrays(self._trees)

    def restore(self, arrays: Arrays) -> None:
        """Go on where one of the same settings was saved; raises ModelError for what was not saved by one."""
        self._trees = restored_trees(self._trees, arrays, self._features, self._limit)
