"""Gates under the null: how often they let through, or refuse, what differs by chance alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.processors.drift.fairness import compare_groups, confusion_of
from tidemill.processors.online_inference import Target
from tidemill.processors.training.gates import Examination, Gates
from tidemill.processors.training.gates.calibration import calibration_gate
from tidemill.processors.training.gates.comparison import champion_gate, slices_gate
from tidemill.processors.training.gates.metrics import METRICS, answers
from tidemill.processors.training.gates.resampling import resampled
from tidemill.processors.training.gates.telling import telling

CLASSES = Target((False, True))
RUNS = 200
# Of 200 runs at 5 %, 10 are expected, and more than 20 come once in a thousand times.
MOST = 20


def probabilities(strength):
    second = 1 / (1 + np.exp(-strength))
    return np.column_stack([1 - second, second])


def equals(seed, rows, gates, memory=0.0):
    """A candidate and a champion that are equally good, each with mistakes of its own."""
    rng = np.random.default_rng(seed)

    def mistakes():
        made = rng.normal(size=rows)
        for place in range(1, rows) if memory else ():
            made[place] = memory * made[place - 1] + (1 - memory**2) ** 0.5 * made[place]
        return 0.7 * made

    truth = 1.5 * rng.normal(size=rows)
    labels = rng.random(rows) < probabilities(truth)[:, 1]
    return Examination(
        CLASSES,
        labels,
        candidate=probabilities(truth + mistakes()),
        champion=probabilities(truth + mistakes()),
        baseline=np.full((rows, 2), 0.5),
        gates=gates,
        columns={"origin": rng.choice(list("abcdefgh"), rows), "sex": rng.choice(["f", "m"], rows)},
        seed=seed,
    )


@pytest.mark.parametrize(
    ("metric", "rows", "memory"),
    [("log_loss", 100, 0), ("accuracy", 200, 0), ("auc", 200, 0), ("log_loss", 300, 0.8)],
)
def test_an_equally_good_candidate_rarely_passes_for_better(metric, rows, memory):
    gates = Gates(metric=metric, resamples=200)
    passed = sum(champion_gate(equals(seed, rows, gates, memory)).passed for seed in range(RUNS))
    assert passed <= MOST


def test_an_equally_good_candidate_is_rarely_refused_for_a_slice():
    gates = Gates(slices={"origin": 0.0}, resamples=200)
    assert sum(not slices_gate(equals(seed, 400, gates)).passed for seed in range(RUNS // 2)) <= MOST // 2 + 3


def test_groups_that_are_treated_alike_rarely_differ_by_more_than_chance():
    def figures(seed):
        made = equals(seed, 300, Gates())
        given = made.of(made.candidate)
        groups = {name: np.flatnonzero(made.columns["sex"] == name) for name in ("f", "m")}
        return compare_groups({n: confusion_of(given.actual[r], given.decided[r], 2) for n, r in groups.items()})

    found = [figures(seed) for seed in range(RUNS)]
    assert sum(each.demographic_parity_p <= 0.05 for each in found) <= MOST
    assert sum(each.equalised_odds_p <= 0.05 for each in found) <= MOST


def test_a_calibrated_candidate_is_rarely_refused():
    def perfect(seed):
        made = equals(seed, 100, Gates(calibration=0.0))
        rng = np.random.default_rng(seed)
        labels = rng.random(100) < made.candidate[:, 1]
        return Examination(CLASSES, labels, made.candidate, made.baseline, gates=made.gates, seed=seed)

    assert sum(not calibration_gate(perfect(seed)).passed for seed in range(RUNS)) <= MOST


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 60), st.sampled_from(METRICS))
def test_the_same_answers_are_never_better(seed, rows, metric):
    target = CLASSES if metric.kind != "numbers" else Target()
    rng = np.random.default_rng(seed)
    labels = rng.random(rows) < 0.5 if target.classes else rng.normal(size=rows)
    scores = rng.dirichlet([1, 1], rows) if target.classes else rng.normal(size=(rows, 1))
    made = Examination(
        target, labels, scores, scores, scores, Gates(metric=metric.name, least_rows=2, resamples=100), seed=seed
    )
    assert not champion_gate(made).passed


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 80))
def test_resamples_are_quotients_of_whole_rows(seed, rows):
    """However the rows are drawn, a constant stays one, and a mean within the rows' bounds."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=rows)
    drawn = resampled(np.column_stack([values, np.ones(rows)]), 50, rng)
    means = drawn[:, 0] / drawn[:, 1]
    assert (means >= values.min() - 1e-9).all()
    assert (means <= values.max() + 1e-9).all()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from(["auc", "balanced_accuracy", "calibration_error"]))
def test_sums_of_terms_do_not_depend_on_the_order_of_rows(seed, name):
    metric = next(metric for metric in METRICS if metric.name == name)
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet([1, 1], 40).round(1)
    made = answers(CLASSES, rng.random(40) < 0.5, scores)
    assert metric.of(made.take(rng.permutation(40))) == pytest.approx(metric.of(made), nan_ok=True)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(20, 300), st.integers(1, 300))
def test_what_has_nothing_to_do_with_the_label_does_not_tell_it(seed, rows, values):
    rng = np.random.default_rng(seed)
    assert telling(rng.integers(0, values, rows), rng.random(rows) < 0.5, classes=True) < 0.95
