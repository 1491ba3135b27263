import numpy as np
import pytest

from tidemill.processors.training.gates.mcnemar import mcnemar
from tidemill.processors.training.gates.metrics import METRICS, Answers
from tidemill.processors.training.gates.resampling import block_length, difference, estimates, generator, resampled

BY_NAME = {metric.name: metric for metric in METRICS}


def numbers(errors):
    return Answers(np.zeros(len(errors)), np.asarray(errors, np.float64).reshape(-1, 1))


def test_a_resample_is_made_of_whole_blocks_of_neighbours():
    terms = np.column_stack([np.arange(27.0), np.ones(27)])
    drawn = resampled(terms, 200, generator(0, "test"))
    assert block_length(27) == 3
    assert (drawn[:, 1] == 27).all()
    # Three neighbours add up to three times the middle one, except where the circle is closed.
    blocks = {float(terms[np.arange(start, start + 3) % 27, 0].sum()) for start in range(27)}
    one = resampled(np.column_stack([np.arange(2.0), np.ones(2)]), 50, generator(0, "few"))
    assert set(one[:, 0]) <= {0.0, 1.0, 2.0}
    assert {0.0 + 1 + 2, 26.0 + 0 + 1} <= blocks


def test_the_cut_into_chunks_changes_nothing_but_order(monkeypatch):
    from tidemill.processors.training.gates import resampling

    terms = np.random.default_rng(0).normal(size=(100, 3))
    whole = resampled(terms, 60, generator(1, "x"))
    monkeypatch.setattr(resampling, "_MOST_CELLS", 500)
    assert np.array_equal(whole, resampled(terms, 60, generator(1, "x")))


def test_chance_depends_on_the_seed_and_on_what_it_is_for():
    first = generator(1, "a").random()
    assert first == generator(1, "a").random()
    assert len({first, generator(2, "a").random(), generator(1, "b").random(), generator(1, "a", "b").random()}) == 4


def test_an_interval_holds_the_truth_as_often_as_it_says():
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        made = estimates([BY_NAME["mae"]], numbers(rng.normal(size=200)), 0.9, 200, generator(seed, "i"))["mae"]
        held += made.low <= np.sqrt(2 / np.pi) <= made.high
    assert 0.82 <= held / 200 <= 0.96


def test_rows_that_are_alike_tell_less():
    rng = np.random.default_rng(0)
    single, repeated = np.abs(rng.normal(size=1_000)), np.repeat(np.abs(rng.normal(size=100)), 10)
    wide, narrow = (
        estimates([BY_NAME["mae"]], numbers(errors), 0.95, 500, generator(0, "i"))["mae"]
        for errors in (repeated, single)
    )
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_a_model_against_itself_is_never_better():
    same = numbers(np.random.default_rng(0).normal(size=100))
    made = difference(BY_NAME["mae"], same, same, 0.95, 200, generator(0, "d"))
    assert (made.gain, made.low, made.high, made.p_better, made.p_worse) == (0, 0, 0, 1, 1)


def test_better_on_every_row():
    errors = np.random.default_rng(0).normal(size=100)
    made = difference(
        BY_NAME["mae"], numbers(np.abs(errors)), numbers(np.abs(errors) + 1), 0.95, 200, generator(0, "d")
    )
    assert made.gain == pytest.approx(1)
    assert made.p_better < 1e-6
    assert made.p_worse == pytest.approx(1)
    assert 0 < made.low <= made.gain <= made.high


def test_a_difference_that_is_not_defined_shows_nothing():
    one = Answers(np.zeros(50, np.int64), np.full((50, 2), 0.5))
    made = difference(BY_NAME["auc"], one, one, 0.95, 100, generator(0, "d"))
    assert np.isnan(made.gain)
    assert (made.p_better, made.p_worse) == (1, 1)


@pytest.mark.parametrize(
    ("ours", "theirs", "p_value"),
    # The exact one-sided p-value less half of the probability of what was observed, by hand.
    [(0, 0, 0.5), (1, 0, 0.25), (0, 1, 0.75), (3, 0, 0.0625), (4, 1, (0.5 * 5 + 1) / 32), (5, 5, 0.5)],
)
def test_mcnemar(ours, theirs, p_value):
    assert mcnemar(ours, theirs) == pytest.approx(p_value)
