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

MAKERS = {
    "events": lambda field, half_life: fe.count(),
    "count": lambda field, half_life: fe.count(field),
    "sum": lambda field, half_life: fe.sum(field),
    "mean": lambda field, half_life: fe.mean(field),
    "min": lambda field, half_life: fe.min(field),
    "max": lambda field, half_life: fe.max(field),
    "last": lambda field, half_life: fe.last(field),
    "decayed": lambda field, half_life: fe.decayed_mean(field, half_life),
}


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


micros = st.integers(1, 60).map(lambda n: timedelta(microseconds=n))
values = st.none() | st.floats(width=32) | st.sampled_from([0.1, 0.2, 0.3, -0.0, 1e300])
events = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]),
        st.integers(-90, 90),
        st.fixed_dictionaries({"x": values, "y": values}),
    ),
    max_size=60,
)
windows = st.builds(
    lambda over, resolution, grace, chosen: fe.window("key", over, resolution, grace, **chosen),
    micros,
    st.none() | micros,
    st.none() | micros,
    st.dictionaries(st.sampled_from(sorted(MAKERS)), st.tuples(st.sampled_from("xy"), micros), min_size=1).map(
        lambda chosen: {name: MAKERS[name](field, half_life) for name, (field, half_life) in chosen.items()}
    ),
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
@given(windows, events)
def test_the_kernel_agrees_with_the_oracle_to_the_bit(window, events):
    for event, ours, theirs in zip(events, run(window, events), oracle(window, events), strict=True):
        assert all(map(same, ours, theirs)), (event, ours, theirs)


@settings(deadline=None, max_examples=200)
@given(windows, events, st.sets(st.integers(1, 59)), st.sets(st.integers(0, 20)))
def test_features_do_not_depend_on_how_the_log_is_cut_or_on_restarts(window, events, cuts, restarts):
    assert bits(run(window, events, cuts, restarts)) == bits(run(window, events))
