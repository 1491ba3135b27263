"""Sketches against the values themselves: whatever the values, however they are cut and ordered."""

import math
from collections import Counter
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, confusion_matrix, log_loss, roc_auc_score

from tidemill.processors.drift import (
    CategorySketch,
    ClassQuality,
    NumberSketch,
    Profile,
    RegressionQuality,
    Scope,
    from_table,
    to_table,
)
from tidemill.processors.drift.buckets import MOST_BUCKETS
from tidemill.processors.drift.number_kernel import LARGEST, SMALLEST
from tidemill.schemas.builtin import PROFILE
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas

ANY = st.floats(width=64)
USUAL = st.one_of(st.integers(-1000, 1000).map(float), st.floats(-1e6, 1e6), ANY)
COLUMNS = st.lists(USUAL, max_size=60)
CODEC = Codec(PROFILE, KnownSchemas([PROFILE]))


def written(**parts):
    """The bytes of a profile that holds these sketches: what must not depend on cuts and order."""
    scope = Scope("p", 0, 1)
    profile = Profile(
        "outcomes", scope, 0, {}, parts.get("numbers", {}), parts.get("categories", {}), parts.get("quality")
    )
    message = CODEC.encode(to_table([profile]))[0]
    decoded = CODEC.decode([message])
    assert not decoded.bad
    assert CODEC.encode(to_table(from_table(decoded.table))) == [message]
    return message


def cuts(data, values):
    """The values in another order, in pieces, in the shape of a tree of merges."""
    shuffled = data.draw(st.permutations(values))
    places = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=4)))
    return [shuffled[a:b] for a, b in zip([0, *places], [*places, len(values)], strict=True)]


def merged(data, sketches):
    """Merged two by two, in a drawn order."""
    while len(sketches) > 1:
        place = data.draw(st.integers(0, len(sketches) - 2))
        sketches[place : place + 2] = [sketches[place + 1].merge(sketches[place])]
    return sketches[0]


@settings(max_examples=40)
@given(st.data(), COLUMNS)
def test_numbers_do_not_depend_on_cuts_and_order(data, values):
    whole = NumberSketch.of(np.array(values))
    parts = merged(data, [NumberSketch.of(np.array(piece)) for piece in cuts(data, values)])
    assert written(numbers={"x": parts}) == written(numbers={"x": whole})


@settings(max_examples=40)
@given(COLUMNS)
def test_numbers_against_the_numbers(values):
    sketch = NumberSketch.of(pa.chunked_array([values], pa.float64()))
    finite = sorted(value for value in values if abs(value) < LARGEST)
    assert sketch.count == len(finite)
    assert sketch.missing == sum(map(math.isnan, values))
    assert sketch.rows == len(values)
    assert sketch.sum == math.fsum(finite)
    if not finite:
        assert math.isnan(sketch.quantile(0.5))
        assert math.isnan(sketch.mean)
        return
    assert (sketch.minimum, sketch.maximum) == (finite[0], finite[-1])
    for q in (0, 0.01, 0.25, 0.5, 0.9, 1):
        exact = finite[math.floor(q * (len(finite) - 1))]
        assert sketch.quantile(q) == pytest.approx(exact, rel=0.01 + 1e-12, abs=SMALLEST)
    for value in finite[::5]:
        share = sketch.cdf(value)
        assert share >= sum(other <= value for other in finite) / len(finite)
        assert share <= sum(other <= value + abs(value) * 0.0203 + SMALLEST for other in finite) / len(finite)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_lowest_buckets_are_collapsed_alike_however_the_numbers_come(sign):
    values = sign * np.logspace(-300, 299, 20_000)
    whole = NumberSketch.of(values)
    side = whole.positive if sign > 0 else whole.negative
    assert len(side.keys) == MOST_BUCKETS
    assert side.total == whole.count == 20_000
    shuffled = np.random.default_rng(1).permutation(values)
    parts = [NumberSketch.of(piece) for piece in np.split(shuffled, [1, 50, 3_000, 3_001, 9_000])]
    assert written(numbers={"x": reduce(NumberSketch.merge, parts)}) == written(numbers={"x": whole})
    # What is large stays exact to 1 %.
    q = 0.99 if sign > 0 else 0.01
    assert whole.quantile(q) == pytest.approx(np.quantile(values, q, method="lower"), rel=0.01 + 1e-12)


@settings(max_examples=40)
@given(
    st.data(),
    st.lists(st.one_of(st.none(), st.sampled_from(["JFK", "EWR", "", "é", "x" * 200]), st.text()), max_size=60),
)
def test_categories_against_a_counter(data, values):
    values = [value for value in values if value is None or value.isascii() or value == "é"]
    parts = merged(data, [CategorySketch.of(pa.array(piece, pa.string())) for piece in cuts(data, values)])
    counted = Counter(value for value in values if value is not None and len(value) <= 128)
    assert {name: count for name, count in parts.counts.items() if len(name) < 100} == counted
    assert parts.missing == values.count(None)
    assert parts.count == len(values) - parts.missing == sum(parts.counts.values())
    whole = CategorySketch.of(pa.array(values, pa.string()))
    assert parts == whole
    assert written(categories={"x": parts}) == written(categories={"x": whole})


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(257, 3_000), st.integers(1, 6))
def test_many_categories_within_the_stated_error(seed, distinct, pieces):
    rng = np.random.default_rng(seed)
    values = [f"c{number}" for number in rng.zipf(1.3, 4_000) % distinct]
    shuffled = rng.permutation(values)
    parts = [CategorySketch.of(pa.array(piece)) for piece in np.array_split(shuffled, pieces)]
    sketch, whole, counted = reduce(CategorySketch.merge, parts), CategorySketch.of(pa.array(values)), Counter(values)
    assert sketch.exact == whole.exact == (len(counted) <= 256)
    assert len(sketch.counts) <= 256
    assert sketch.error <= len(values) / 257
    for name, count in counted.items():
        assert count - sketch.error <= sketch.counts.get(name, 0) <= count
    # What distributions are compared by is exact, whatever the cuts.
    assert sketch.buckets() == whole.buckets()
    assert sum(sketch.buckets()) == sketch.count == len(values)
    backwards = reduce(lambda a, b: b.merge(a), parts)
    assert backwards == sketch


@settings(max_examples=40)
@given(st.data(), st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_quality_does_not_depend_on_cuts_and_order(data, rows):
    def of(piece):
        p, y = np.array([p for p, _ in piece]), np.array([y for _, y in piece], np.int64)
        return ClassQuality.of(np.column_stack([1 - p, p]), y) if piece else ClassQuality.empty(2)

    parts = merged(data, [of(piece) for piece in cuts(data, rows)])
    assert written(quality=parts) == written(quality=of(rows))


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(2, 400))
def test_quality_of_two_classes_against_sklearn(seed, rows):
    rng = np.random.default_rng(seed)
    p = rng.beta(0.5, 2, rows)
    y = np.r_[0, 1, rng.random(rows - 2) < p[2:]].astype(np.int64)
    made = ClassQuality.of(np.column_stack([1 - p, p]), y)
    figures = made.metrics()
    assert figures["log_loss"] == pytest.approx(log_loss(y, np.clip(p, 1e-15, 1 - 1e-15)))
    assert figures["brier"] == pytest.approx(brier_score_loss(y, p))
    # Pairs whose scores share one of the thousand bins count as half.
    bins = (p * 1000).astype(int)
    shared = sum(int(((bins == b) & (y == 1)).sum() * ((bins == b) & (y == 0)).sum()) for b in np.unique(bins))
    assert abs(figures["auc"] - roc_auc_score(y, p)) <= 0.5 * shared / (y.sum() * (1 - y).sum()) + 1e-12
    assert made.confusion.tolist() == confusion_matrix(y, p > 0.5, labels=[0, 1]).tolist()
    counts, scores, shares = made.calibration()
    assert counts.sum() == rows
    assert np.nansum(counts * shares) == pytest.approx(y.sum())
    assert np.nansum(counts * scores) == pytest.approx(p.sum())


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 200))
def test_quality_of_three_classes_against_sklearn(seed, rows):
    rng = np.random.default_rng(seed)
    scores, y = rng.dirichlet([1, 1, 1], rows), rng.integers(0, 3, rows)
    made = ClassQuality.of(scores, y)
    assert made.metrics()["log_loss"] == pytest.approx(log_loss(y, scores, labels=[0, 1, 2]))
    assert made.metrics()["brier"] == pytest.approx(((scores - np.eye(3)[y]) ** 2).sum(axis=1).mean())
    assert made.confusion.tolist() == confusion_matrix(y, scores.argmax(axis=1), labels=[0, 1, 2]).tolist()
    assert "auc" not in made.metrics()


@settings(max_examples=40)
@given(st.data(), st.lists(st.tuples(USUAL, USUAL), max_size=40))
def test_quality_of_numbers(data, rows):
    def of(piece):
        with np.errstate(all="ignore"):
            return RegressionQuality.of(np.array([a for a, _ in piece]), np.array([b for _, b in piece]))

    whole = of(rows)
    parts = merged(data, [of(piece) for piece in cuts(data, rows)])
    assert written(quality=parts) == written(quality=whole)
    errors = [a - b for a, b in rows if abs(a - b) <= 1e150]
    assert whole.rows == len(errors)
    if errors:
        figures = whole.metrics()
        assert figures["mae"] == pytest.approx(math.fsum(map(abs, errors)) / len(errors))
        assert figures["rmse"] == pytest.approx((math.fsum(e * e for e in errors) / len(errors)) ** 0.5)
        assert figures["bias"] == pytest.approx(math.fsum(errors) / len(errors))
