"""The compiled forest: what it learns, that it forgets, and that blocks change nothing."""

import numpy as np
import pytest

from tidemill.processors.adaptation import AdaptiveForest
from tidemill.processors.adaptation import adwin_kernel as adwin


def rows_of(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, 3))


def test_it_learns_what_a_line_and_what_a_corner_separate() -> None:
    rows = rows_of(1, 3_000)
    for labels in (rows[:, 0] > 0.3, (rows[:, 0] > 0) & (rows[:, 1] > 0), rows[:, 2].astype(int) + 3):
        codes = labels.astype(np.int64)
        forest = AdaptiveForest(3, int(codes.max()) + 1, trees=5)
        forest.learn(rows[:2_000], codes[:2_000])
        assert np.mean(forest.predict(rows[2_000:]).argmax(axis=1) == codes[2_000:]) > 0.85


def test_blocks_and_predictions_between_change_nothing() -> None:
    rows = rows_of(2, 700)
    labels = (rows[:, 0] > 0).astype(np.int64)
    whole, parts = AdaptiveForest(3, 2, trees=3), AdaptiveForest(3, 2, trees=3)
    answers = whole.learn(rows, labels)
    found = []
    for start, stop in ((0, 1), (1, 300), (300, 301), (301, 700)):
        parts.predict(rows[:5])
        found.append(parts.learn(rows[start:stop], labels[start:stop]))
    assert np.array_equal(answers, np.concatenate(found))
    assert np.array_equal(whole.predict(rows), parts.predict(rows))


def test_an_answer_while_learning_is_the_one_from_before() -> None:
    rows = rows_of(3, 200)
    labels = (rows[:, 0] > 0).astype(np.int64)
    one, other = AdaptiveForest(3, 2, trees=3), AdaptiveForest(3, 2, trees=3)
    for i in range(200):
        before = other.predict(rows[i : i + 1])
        assert np.array_equal(one.learn(rows[i : i + 1], labels[i : i + 1]), before)
        other.learn(rows[i : i + 1], labels[i : i + 1])


def test_trees_are_replaced_when_the_concept_turns_round() -> None:
    rows = rows_of(4, 5_000)
    labels = ((rows[:, 0] > 0) ^ (np.arange(5_000) >= 3_000)).astype(np.int64)
    forest = AdaptiveForest(3, 2, trees=5)
    right = forest.learn(rows, labels).argmax(axis=1) == labels
    assert right[2_500:3_000].mean() > 0.95
    assert right[4_500:].mean() > 0.95


def test_answers_are_probabilities_also_before_anything_was_learnt() -> None:
    forest = AdaptiveForest(3, 4, trees=2)
    assert forest.predict(rows_of(5, 2)) == pytest.approx(np.full((2, 4), 0.25))
    constant = np.zeros((500, 3))
    forest.learn(constant, np.arange(500) % 4)
    answers = forest.predict(np.r_[constant[:1], [[1e9, -1e9, 0.0]]])
    assert answers.sum(axis=1) == pytest.approx(np.ones(2))
    assert np.isfinite(answers).all()


def test_adwin_keeps_the_newest_rows_and_their_mean() -> None:
    window = np.zeros(adwin.SHAPE)
    outcomes = (np.random.default_rng(6).random(4_000) < np.r_[np.full(2_000, 0.1), np.full(2_000, 0.5)]).astype(float)
    changed = [i for i, outcome in enumerate(outcomes) if adwin.add(window, outcome, 0.001)]
    assert 2_000 < changed[0] < 2_300
    kept = int(window[0, 0])
    assert kept < 2_200
    assert window[0, 1] == outcomes[-kept:].sum()
    assert adwin.level(window) == pytest.approx(outcomes[-kept:].mean())


def test_adwin_is_quiet_while_nothing_changes() -> None:
    window = np.zeros(adwin.SHAPE)
    assert not any(adwin.add(window, float(i % 5 == 0), 0.001) for i in range(20_000))
    assert window[0, 0] == 20_000
