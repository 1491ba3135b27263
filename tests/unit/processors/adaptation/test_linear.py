"""The compiled linear learner: what it learns, that it follows, and that blocks change nothing."""

import numpy as np
import pytest

from tidemill.processors.adaptation.linear import AdaptiveLinear


def test_it_follows_a_line_that_turns_and_forgets_scale_and_offset() -> None:
    rows = np.random.default_rng(1).normal(size=(6_000, 4))
    angle = np.linspace(0, 3, 6_000)
    labels = (rows[:, 0] * np.cos(angle) + rows[:, 1] * np.sin(angle) > 0).astype(np.int64)
    plain = AdaptiveLinear(4, 2).learn(rows, labels).argmax(axis=1)
    assert np.mean(plain[1_000:] == labels[1_000:]) > 0.93
    other = AdaptiveLinear(4, 2).learn(rows * 1e4 - 7e4, labels).argmax(axis=1)
    assert np.mean(plain == other) > 0.999


def test_blocks_and_turns_change_nothing() -> None:
    chance = np.random.default_rng(2)
    rows, labels = chance.normal(size=(300, 3)), chance.integers(0, 4, 300)
    whole, parts, turns = (AdaptiveLinear(3, 4) for _ in range(3))
    answers = whole.learn(rows, labels)
    found = [parts.learn(rows[start : start + 70], labels[start : start + 70]) for start in range(0, 300, 70)]
    assert np.array_equal(np.concatenate(found), answers)
    given, learnt = turns.interleave(rows, rows, labels)
    assert np.array_equal(given, answers)
    assert np.array_equal(learnt, answers)
    assert np.array_equal(whole.predict(rows), turns.predict(rows))


def test_answers_are_probabilities_for_rows_that_never_vary_and_rows_far_away() -> None:
    learner = AdaptiveLinear(2, 3)
    assert learner.predict(np.zeros((1, 2))) == pytest.approx(np.full((1, 3), 1 / 3))
    learner.learn(np.ones((200, 2)), np.arange(200) % 3)
    answers = learner.predict(np.array([[1.0, 1.0], [1e12, -1e12]]))
    assert answers.sum(axis=1) == pytest.approx(np.ones(2))
    assert np.isfinite(answers).all()
