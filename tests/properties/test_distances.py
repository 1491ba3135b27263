"""Distances on sketches against scipy on the values themselves, and what more rows do to them."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from tidemill.processors.drift import CategorySketch, NumberSketch
from tidemill.processors.drift.distances import DISTANCES, chi_square, jensen_shannon, ks, psi, wasserstein
from tidemill.processors.drift.false_discovery import benjamini_hochberg
from tidemill.processors.drift.rates import Rate, compare_rates

SEEDS = st.integers(0, 2**32)
SHIFTS = st.sampled_from([0.0, 0.05, 0.3, 2.0])


def samples(seed, shift, then=3_000, now=1_000):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, then), rng.normal(shift, 1 + shift, now)


@settings(max_examples=30)
@given(SEEDS, SHIFTS)
def test_numbers_against_scipy(seed, shift):
    then, now = samples(seed, shift)
    a, b = NumberSketch.of(then), NumberSketch.of(now)
    exact = stats.ks_2samp(then, now, method="asymp")
    found = ks(a, b)
    # A bucket of 2 % is as fine as a sketch sees.
    assert exact.statistic - 0.01 <= found.statistic <= exact.statistic + 1e-12
    assert found.effect == found.statistic
    if abs(found.statistic - exact.statistic) < 1e-12:
        assert found.p_value == pytest.approx(exact.pvalue, rel=0.1, abs=1e-4)
    moved = wasserstein(a, b)
    error = 0.01 * (np.abs(then).mean() + np.abs(now).mean())
    assert moved.statistic == pytest.approx(stats.wasserstein_distance(then, now), abs=error)
    assert moved.effect == pytest.approx(moved.statistic / then.std(), rel=0.02)


@settings(max_examples=30)
@given(SEEDS, st.integers(2, 20), SHIFTS)
def test_categories_against_scipy(seed, distinct, shift):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(distinct) * 50)
    then = rng.choice(distinct, 2_000, p=weights)
    now = rng.choice(distinct, 700, p=(weights + shift / distinct) / (1 + shift))
    a, b = (CategorySketch.of(pa.array(values.astype(str))) for values in (then, now))
    table = np.array([np.bincount(values, minlength=distinct) for values in (then, now)])
    exact = stats.chi2_contingency(table, correction=False)
    found = chi_square(a, b)
    assert found.statistic == pytest.approx(exact.statistic)
    assert found.p_value == pytest.approx(exact.pvalue)
    p, q = table / table.sum(axis=1, keepdims=True)
    assert jensen_shannon(a, b).statistic == pytest.approx(jensenshannon(p, q, 2))
    p, q = np.maximum(p, 1e-4), np.maximum(q, 1e-4)
    assert psi(a, b).statistic == pytest.approx(((q - p) * np.log(q / p)).sum())


@settings(max_examples=20)
@given(SEEDS, SHIFTS, st.integers(2, 6), st.sampled_from(sorted(DISTANCES)))
def test_more_of_the_same_changes_the_p_value_and_not_the_effect(seed, shift, doublings, name):
    compare = DISTANCES[name].compare
    a, b = map(NumberSketch.of, samples(seed, shift))
    once, more = compare(a, b), b
    for _ in range(doublings):
        more = more.merge(more)
    many = compare(a, more)
    assert many.effect == pytest.approx(once.effect)
    assert many.p_value <= once.p_value + 1e-12


@settings(max_examples=20)
@given(SEEDS, st.sampled_from(sorted(DISTANCES)))
def test_a_sketch_is_no_distance_from_itself(seed, name):
    sketch = NumberSketch.of(samples(seed, 0)[0])
    found = DISTANCES[name].compare(sketch, sketch)
    assert found.effect == pytest.approx(0, abs=1e-12)
    assert found.p_value == pytest.approx(1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_false_discovery_against_scipy(p_values):
    assert benjamini_hochberg(p_values) == pytest.approx(stats.false_discovery_control(p_values))


@settings(max_examples=30)
@given(st.integers(0, 100), st.integers(100, 1_000), st.integers(0, 100), st.integers(100, 1_000))
def test_rates_against_the_chi_square_test(hits, rows, hits_now, rows_now):
    found = compare_rates(Rate(hits, rows), Rate(hits_now, rows_now))
    more = compare_rates(Rate(hits * 1_000, rows * 1_000), Rate(hits_now * 1_000, rows_now * 1_000))
    assert more.effect == pytest.approx(found.effect)
    table = np.array([[hits, rows - hits], [hits_now, rows_now - hits_now]])
    if table.sum(axis=0).all():
        exact = stats.chi2_contingency(table, correction=False)
        assert found.statistic**2 == pytest.approx(exact.statistic)
        few = exact.expected_freq.min() < 10
        assert found.p_value == pytest.approx(stats.fisher_exact(table).pvalue if few else exact.pvalue)


@settings(max_examples=30)
@given(SEEDS, st.integers(10, 50))
def test_small_samples_give_no_small_p_values_by_chance(seed, rows):
    """Of a heavy tail and of rare categories, which few rows see by chance: one in ten thousand would be much."""
    rng = np.random.default_rng(seed)
    reference, now = rng.standard_cauchy(20_000), rng.standard_cauchy(rows)
    now[0] = 2 * np.abs(reference).max()
    a, b = NumberSketch.of(reference), NumberSketch.of(now)
    assert all(distance.compare(a, b).p_value > 1e-4 for distance in DISTANCES.values())
