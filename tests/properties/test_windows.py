"""The compiled windows against a naive oracle, and against themselves however the log is cut."""

import math
import struct
from datetime import timedelta
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.processors import feature_enrichment as fe
from tidemill.processors.feature_enrichment.window_store import WindowStore


def oracle(window, events):
    """What each event must see; events are (key, time, values by field)."""
    history = {}
    for key, time, values in events:
        if key is None:
            yield [0 if a.kind == "count" else None for _, a in window.aggregates]
            continue
        bucket = time // window.resolution
        kept = history.setdefault(key, [])
        seen = [(b, v) for b, v in kept if bucket - window.buckets < b <= bucket]
        yield [aggregate(a, seen, window.resolution) for _, a in window.aggregates]
        kept.append((bucket, values))
        newest = np.max([b for b, _ in kept])
        history[key] = [(b, v) for b, v in kept if b > newest - window.kept_buckets]


def aggregate(a, seen, resolution):
    by_bucket = {}
    for bucket, values in seen:
        value = 0.0 if a.field is None else values[a.field]
        if value is not None and not math.isnan(value):
            by_bucket.setdefault(bucket, []).append(value)
    buckets = sorted(by_bucket, reverse=True)
    sums = [reduce(add, by_bucket[b], 0.0) for b in buckets]
    counts = [len(by_bucket[b]) for b in buckets]
    if a.kind == "count":
        return reduce(add, counts, 0)
    if a.kind == "sum":
        return reduce(add, sums, 0.0)
    if not buckets:
        return None
    if a.kind == "mean":
        return reduce(add, sums, 0.0) / reduce(add, counts, 0)
    if a.kind == "decayed_mean":
        weights = [math.exp2(-((buckets[0] - b) * resolution / a.half_life)) for b in buckets]
        weighted = reduce(add, [w * s for w, s in zip(weights, sums, strict=True)], 0.0)
        return weighted / reduce(add, [w * n for w, n in zip(weights, counts, strict=True)], 0.0)
    values = [value for b in buckets for value in by_bucket[b]]
    return {"min": np.min, "max": np.max, "last": lambda _: by_bucket[buckets[0]][-1]}[a.kind](values)


def micros(least, most):
    return st.integers(least, most).map(lambda n: timedelta(microseconds=n))


values = st.none() | st.floats(width=32) | st.sampled_from([0.1, 0.2, 0.3, -0.0, 1e300]) | st.integers(-9, 9).map(float)


@st.composite
def streams(draw):
    """Events whose time goes forward on the whole, with ties and with steps back."""
    key = st.sampled_from(["a", "a", "a", "b", "c", None])
    rows = draw(st.lists(st.tuples(key, st.integers(-6, 8), values, values), max_size=80))
    times = np.cumsum([draw(st.integers(-100, 100)), *(step for _, step, _, _ in rows)]).tolist()
    return [(key, time, {"x": x, "y": y}) for time, (key, _, x, y) in zip(times, rows, strict=False)]


@st.composite
def windows(draw):
    """Every aggregate, on fields of its own choice, over a few buckets."""
    x = iter(draw(st.lists(st.sampled_from("xy"), min_size=8, max_size=8)))
    return fe.window(
        "key",
        draw(micros(1, 20)),
        draw(st.none() | micros(1, 5)),
        draw(st.none() | micros(1, 10)),
        events=fe.count(),
        values=fe.count(next(x)),
        total=fe.sum(next(x)),
        mean=fe.mean(next(x)),
        least=fe.min(next(x)),
        most=fe.max(next(x)),
        last=fe.last(next(x)),
        decayed=fe.decayed_mean(next(x), draw(micros(1, 20))),
    )


def run(window, events, cuts=(), restarts=()):
    """All the events' features, in batches cut at `cuts`; after the `restarts`th ones the state is restored."""
    store, changelog, rows = WindowStore(window), [], []
    bounds = [0, *sorted({c for c in cuts if c < len(events)}), len(events)]
    for i, (start, stop) in enumerate(pairwise(bounds)):
        batch = events[start:stop]
        features = store.update(
            pa.array([key for key, _, _ in batch], pa.string()),
            np.array([time for _, time, _ in batch], np.int64),
            {field: pa.array([v[field] for _, _, v in batch], pa.float64()) for field in "xy"},
        )
        rows += zip(*(features[name].to_pylist() for name in window.names), strict=True)
        changelog.append(store.rows(store.changed()))
        if i in restarts:
            store = WindowStore(window)
            for record in changelog:
                store.apply(record)
            assert len(store.changed()) == 0
    return rows


def bits(rows):
    return [[struct.pack("d", v) if isinstance(v, float) else v for v in row] for row in rows]


def same(ours, theirs):
    return ours == theirs or (ours is not None and theirs is not None and math.isnan(ours) and math.isnan(theirs))


@settings(deadline=None, max_examples=200)
@given(windows(), streams())
def test_the_kernel_agrees_with_the_oracle_to_the_bit(window, events):
    for event, ours, theirs in zip(events, run(window, events), oracle(window, events), strict=True):
        assert all(map(same, ours, theirs)), (event, ours, theirs)


@settings(deadline=None, max_examples=200)
@given(windows(), streams(), st.sets(st.integers(1, 79)), st.sets(st.integers(0, 20)))
def test_features_do_not_depend_on_how_the_log_is_cut_or_on_restarts(window, events, cuts, restarts):
    assert bits(run(window, events, cuts, restarts)) == bits(run(window, events))
