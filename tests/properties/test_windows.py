"""The compiled windows against a naive oracle, and against themselves however the log is cut."""

import math
import struct
from datetime import timedelta
from functools import reduce
from itertools import pairwise
from operator import add
from unittest.mock import patch

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.processors import feature_enrichment as fe
from tidemill.processors.feature_enrichment.window_store import WindowStore
from tidemill.streams import changelog
from tidemill.streams.changelog import BlockLog


def oracle(window, events, *, expires=True):
    """What each event must see; events are (key, time, values by field and when it was sent)."""
    history, seen_at = {}, {}
    clock = -math.inf
    for key, time, values in events:
        if key is None:
            yield [0 if a.kind in ("count", "distinct") else None for _, a in window.aggregates]
            continue
        bucket = time // window.resolution
        clock = max(clock, min(time, values["sent"]) // window.resolution)
        kept = history.setdefault(key, [])
        if expires and kept and clock - max(seen_at[key], *(b for b, _ in kept), -math.inf) >= window.idle_buckets:
            kept = history[key] = []
        seen = [(b, v) for b, v in kept if bucket - window.buckets < b <= bucket]
        yield [aggregate(a, seen, window.resolution, time) for _, a in window.aggregates]
        kept.append((bucket, {**values, None: time}))
        newest = np.max([b for b, _ in kept])
        if bucket > newest - window.kept_buckets or clock > max(seen_at.values(), default=-math.inf):
            seen_at[key] = clock
        history[key] = [(b, v) for b, v in kept if b > newest - window.kept_buckets]


def aggregate(a, seen, resolution, time):
    by_bucket = {}
    for bucket, values in seen:
        value = values[a.field]
        if value is not None and value == value:
            by_bucket.setdefault(bucket, []).append(value)
    buckets = sorted(by_bucket, reverse=True)
    counts = [len(by_bucket[b]) for b in buckets]
    if a.kind == "count":
        return reduce(add, counts, 0)
    values = [value for b in buckets for value in by_bucket[b]]
    if a.kind == "distinct":
        return min(len(set(values)), a.limit)
    if a.kind == "time_since_last":
        return (time - by_bucket[buckets[0]][-1]) / 1e6 if buckets else None
    sums = [reduce(add, by_bucket[b], 0.0) for b in buckets]
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
    if a.kind == "std":
        n, _, squares = reduce(merged, [deviations(by_bucket[b]) for b in buckets])
        return math.sqrt(squares / (n - 1)) if n > 1 else None
    ends = {"first": by_bucket[buckets[-1]][0], "last": by_bucket[buckets[0]][-1]}
    return ends[a.kind] if a.kind in ends else {"min": np.min, "max": np.max}[a.kind](values)


def deviations(values):
    """How many, their mean and the sum of their squared deviations from it, by Welford's method."""
    n, mean, squares = 0, 0.0, 0.0
    for value in values:
        n, delta = n + 1, value - mean
        mean += delta / n
        squares += delta * (value - mean)
    return n, mean, squares


def merged(newer, older):
    """The same of both together, by the method of Chan, Golub and LeVeque."""
    n, delta = newer[0] + older[0], older[1] - newer[1]
    squares = newer[2] + (older[2] + delta * delta * (newer[0] * older[0] / n))
    return n, newer[1] + delta * (older[0] / n), squares


TYPES = {"x": pa.float64(), "y": pa.float64(), "z": pa.string()}


def micros(least, most):
    return st.integers(least, most).map(lambda n: timedelta(microseconds=n))


values = st.none() | st.floats(width=32) | st.sampled_from([0.1, 0.2, 0.3, -0.0, 1e300]) | st.integers(-9, 9).map(float)
texts = st.none() | st.sampled_from(["", "a", "b", "ab", "é"])


@st.composite
def streams(draw):
    """Events whose time goes forward on the whole, with ties and with steps back."""
    key = st.sampled_from(["a", "a", "a", "b", "c", None])
    step = st.integers(-6, 8) | st.sampled_from([1, 2, 40, 90, -60])
    sent = st.sampled_from([0, 0, 0, 5, 10**6, -4, -100])
    rows = draw(st.lists(st.tuples(key, step, values, values, texts, sent), max_size=80))
    times = np.cumsum([draw(st.integers(-100, 100)), *(row[1] for row in rows)]).tolist()
    return [
        (key, time, {"x": x, "y": y, "z": z, "sent": time + sent})
        for time, (key, _, x, y, z, sent) in zip(times, rows, strict=False)
    ]


@st.composite
def windows(draw):
    """Every aggregate, on fields of its own choice, over a few buckets."""
    x = iter(draw(st.lists(st.sampled_from("xy"), min_size=11, max_size=11)))
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
        first=fe.first(next(x)),
        last=fe.last(next(x)),
        spread=fe.std(next(x)),
        numbers=fe.distinct(next(x), draw(st.integers(1, 5))),
        texts=fe.distinct("z", draw(st.integers(1, 5))),
        few_texts=fe.distinct("z", draw(st.integers(1, 5))),
        since=fe.time_since_last(),
        decayed=fe.decayed_mean(next(x), draw(micros(1, 20))),
    )


def run(window, events, cuts=(), restarts=()):
    """All the events' features, in batches cut at `cuts`; after the `restarts`th ones the state is restored."""
    store, blocks, rows = WindowStore(window), {}, []
    log = BlockLog(store)
    bounds = [0, *sorted({c for c in cuts if c < len(events)}), len(events)]
    for i, (start, stop) in enumerate(pairwise(bounds)):
        batch = events[start:stop]
        features = store.update(
            pa.array([key for key, _, _ in batch], pa.string()),
            np.array([time for _, time, _ in batch], np.int64),
            {field: pa.array([v[field] for _, _, v in batch], kind) for field, kind in TYPES.items()},
            np.array([v["sent"] for _, _, v in batch], np.int64),
        )
        rows += zip(*(features[name].to_pylist() for name in window.names), strict=True)
        # As compaction leaves them, and cleaned at once, so that slots of keys that have gone are used again.
        with patch.object(changelog, "_SMALL", 2):
            for number, block in log.advance():
                blocks[number] = block
        if i in restarts:
            store = WindowStore(window)
            log = BlockLog(store)
            for number, block in blocks.items():
                log.restore(number, block)
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
@given(windows(), streams())
def test_no_event_within_what_is_kept_can_tell_that_keys_expire(window, events):
    clock = -math.inf
    for event, ours, theirs in zip(events, run(window, events), oracle(window, events, expires=False), strict=True):
        key, time, values = event
        if key is not None:
            clock = max(clock, min(time, values["sent"]) // window.resolution)
        if time // window.resolution > clock - window.kept_buckets:
            assert all(map(same, ours, theirs)), (event, ours, theirs)


@settings(deadline=None, max_examples=200)
@given(windows(), streams(), st.sets(st.integers(1, 79)), st.sets(st.integers(0, 20)))
def test_features_do_not_depend_on_how_the_log_is_cut_or_on_restarts(window, events, cuts, restarts):
    assert bits(run(window, events, cuts, restarts)) == bits(run(window, events))
