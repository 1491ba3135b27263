"""The blend against the formula, row by row."""

import math

import numpy as np
import pytest

from tidemill.processors.adaptation.blend import LEAST, Blend

CHANCE = np.random.default_rng(1)
LABELS = CHANCE.integers(0, 3, size=80)
ANSWERS = {name: CHANCE.dirichlet((1, 1, 1), size=80) for name in ("one", "two", "three")}


def naive(rate: float, keep: float) -> np.ndarray:
    losses, mixed = dict.fromkeys(ANSWERS, 0.0), []
    for i, label in enumerate(LABELS):
        parts = {name: math.exp(-rate * losses[name]) for name in ANSWERS}
        mixed.append(sum(parts[name] * ANSWERS[name][i] for name in ANSWERS) / sum(parts.values()))
        for name in ANSWERS:
            losses[name] = keep * losses[name] - math.log(max(ANSWERS[name][i, label], LEAST))
    return np.array(mixed)


def test_it_is_the_formula_in_any_cut() -> None:
    whole, parts = (Blend(tuple(ANSWERS), half_life=20, rate=0.3) for _ in range(2))
    expected = naive(0.3, 0.5 ** (1 / 20))
    assert whole.learn(ANSWERS, LABELS) == pytest.approx(expected)
    found = [
        parts.learn({name: rows[start:stop] for name, rows in ANSWERS.items()}, LABELS[start:stop])
        for start, stop in ((0, 1), (1, 33), (33, 80))
    ]
    assert np.concatenate(found) == pytest.approx(expected)
    assert parts.losses == whole.losses


def test_weights_are_those_of_the_next_answer() -> None:
    blend = Blend(tuple(ANSWERS), half_life=20, rate=0.3)
    blend.learn(ANSWERS, LABELS)
    weights = blend.weights
    assert sum(weights.values()) == pytest.approx(1)
    expected = sum(weights[name] * ANSWERS[name][:1] for name in ANSWERS)
    assert blend.predict({name: rows[:1] for name, rows in ANSWERS.items()}) == pytest.approx(expected)


def test_the_losses_of_a_member_can_be_given_on() -> None:
    blend = Blend(("one", "two"), half_life=20, rate=0.3)
    blend.learn({name: ANSWERS[name] for name in ("one", "two")}, LABELS)
    other = blend.over(("one", "new"), {"one": blend.losses["one"], "new": blend.losses["two"]})
    assert list(other.weights.values()) == pytest.approx(list(blend.weights.values()))
