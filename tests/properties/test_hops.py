"""Windows on several keys against a naive oracle, however the work is shared and wherever it stops."""

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tidemill as tm
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import CommitAborted
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.memory_worker import MemoryCommitter, MemoryWorker
from tidemill.streams.rejections import HEADERS

START = datetime(2024, 5, 1, tzinfo=UTC)
STEP, OVER = 60_000_000, 4
CALL = tm.Contract.parse(
    {
        "type": "record",
        "name": "Call",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "caller", "type": "string"},
            {"name": "cell", "type": ["null", "string"], "default": None},
            {"name": "plan", "type": "int"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
            {"name": "cost", "type": "double"},
            {"name": "digits", "type": "string"},
        ],
    }
)
CODEC = Codec(CALL, KnownSchemas())


def window(key, *names):
    made = dict(zip(names, (tm.count(), tm.sum("doubled"), tm.last("cost")), strict=True))
    return tm.window(key, over="4m", resolution="1m", grace="30d", **made)


@pytest.fixture(scope="module")
def pipeline():
    made = tm.Pipeline(
        "calls",
        tm.Events(CALL, key="caller", time="at", id="id"),
        checks=[tm.between("cost", 0, 100)],
        features=[
            tm.fields("cost"),
            tm.expression(doubled=pl.col("cost") * 2),
            window("caller", "caller_calls", "caller_sum", "caller_last"),
            window("cell", "cell_calls", "cell_sum", "cell_last"),
            # Raises before the windows for digits such as "x", so that such events are counted nowhere.
            tm.expression(number=pl.col("digits").str.to_integer(strict=True)),
            window("plan", "plan_calls", "plan_sum", "plan_last"),
            tm.expression(share=pl.col("number") * 100 // (pl.col("plan_calls") + pl.col("cell_calls") + 1)),
            # Raises after them for most plan_calls above 2: such events have been counted.
            tm.expression(base_three=pl.col("plan_calls").cast(pl.String).str.to_integer(base=3)),
        ],
        base=".",
    )
    made.plan()
    with pytest.MonkeyPatch.context() as patch:
        # Expressions were tried on made-up rows just now; again for every worker would take minutes.
        for module in ("sanity_check.stage", "feature_enrichment.plan"):
            patch.setattr(f"tidemill.processors.{module}.require_rowwise", lambda *_: None)
        yield made


calls = st.fixed_dictionaries(
    {
        "caller": st.sampled_from("abcdefgh"),
        "cell": st.sampled_from(["north", "south", "east", None]),
        "plan": st.integers(1, 3),
        "minutes": st.sampled_from([0, 0, 0, 1, 1, -1, -2, 3]),
        "cost": st.sampled_from([0.0, 1.0, 2.0, 5.0, -1.0]),
        "digits": st.sampled_from(["1", "2", "3", "3", "x", "99999999999999999999"]),
    }
)
actions = st.lists(
    st.tuples(
        st.sampled_from(["step", "step", "step", "abort", "restart"]),
        st.integers(0, 9),
        st.integers(1, 7),
        st.sets(st.integers(0, 3), min_size=1),
    ),
    max_size=25,
)


def send(driver, drawn):
    """Put the calls on the log; minutes are steps of event time. Garbage stands between some."""
    time, rows = START, []
    for number, call in enumerate(drawn):
        time += timedelta(minutes=call["minutes"])
        row = call | {"id": f"c{number}", "at": time}
        # What is refused is far ahead: it must not move any partition's time.
        rows.append(row | {"at": time + timedelta(days=400)} if row["cost"] < 0 else row)
    for row, value in zip(rows, CODEC.encode_rows([{k: r[k] for k in CALL.arrow.names} for r in rows]), strict=True):
        driver.send_bytes(value, key=row["caller"].encode())
        if row["digits"] == "x":
            driver.send_bytes(b"garbage", key=row["caller"].encode())
    return {row["id"]: row for row in rows}


def expected(driver, rows):
    """Each call's windows by a naive loop over all calls in the one order that the events decide."""
    table = driver.table("events").to_pylist()
    places = [(r.partition, r.offset) for r in driver.records("events") if r.value != b"garbage"]
    counted, reached = [], defaultdict(lambda: datetime.min.replace(tzinfo=UTC))
    for (partition, offset), call in zip(places, table, strict=True):
        if call["cost"] >= 0 and call["digits"].isdigit() and len(call["digits"]) < 19:
            reached[partition] = max(reached[partition], call["at"])
            counted.append(((reached[partition], partition, offset), call))
    assert len(table) == len(rows)
    found, earlier = {}, defaultdict(list)
    for (_, *place), call in sorted(counted, key=lambda pair: pair[0]):
        bucket = int(call["at"].timestamp() * 1e6) // STEP
        features = {}
        for field in ("caller", "cell", "plan"):
            seen = [] if call[field] is None else earlier[field, call[field]]
            inside = [(b, c) for b, c in seen if bucket - OVER < b <= bucket]
            newest = [c for b, c in inside if b == max(b for b, _ in inside)]
            features[f"{field}_calls"] = len(inside)
            features[f"{field}_sum"] = None if call[field] is None else sum((2 * c for _, c in inside), 0.0)
            features[f"{field}_last"] = newest[-1] if newest else None
            earlier[field, call[field]].append((bucket, call["cost"]))
        found[tuple(place)] = features
    return found


def act(driver, action):
    what, number, size, partitions = action
    here = {p for p in partitions if p < len(driver.log.partitions("calls.events"))}
    worker = driver.workers[number % len(driver.workers)]
    if what == "restart":
        driver.log.compact("calls.changelog")
        driver.restart()
    elif what == "step":
        worker.step(size, here)
    else:
        commit, failures = MemoryCommitter.commit, iter([True])

        def flaky(self, prepared):
            if next(failures, False):
                raise CommitAborted("the transaction was rolled back")
            commit(self, prepared)

        with patch.object(MemoryCommitter, "commit", flaky):
            worker.step(size, here)


def public(driver):
    found = {}
    for topic in ("validated", "features", "predictions"):
        found[topic] = [(r.partition, r.timestamp, r.key, r.value) for r in driver.records(topic)]
    by_event = [HEADERS["partition"], HEADERS["offset"]]
    rejected = [(r.partition, r.timestamp, r.key, r.value, r.headers) for r in driver.records("rejected")]
    found["rejected"] = sorted(rejected, key=lambda r: [int(dict(r[4])[name]) for name in by_event])
    return found


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(
    drawn=st.lists(calls, min_size=5, max_size=60),
    partitions=st.integers(1, 4),
    stages=st.sampled_from(["all", "each"]),
    schedule=actions,
)
def test_windows_on_any_key_are_what_a_naive_loop_computes(pipeline, drawn, partitions, stages, schedule):
    whole = tm.testing.Driver(pipeline, partitions=partitions, now=START)
    rows = send(whole, drawn)
    whole.run()
    oracle = expected(whole, rows)
    seen = whole.features()
    places = [(row["source_partition"], row["source_offset"]) for row in seen]
    # In the order of the events, and of all that were counted those for which the last expressions could be computed.
    assert places == sorted(places)
    for place, row in zip(places, seen, strict=True):
        assert {name: row[name] for name in oracle[place]} == oracle[place]
    answers = len(whole.records("predictions")) + len(whole.records("rejected"))
    assert answers == len(whole.records("events"))

    cut = tm.testing.Driver(pipeline, partitions=partitions, stages=stages, now=START)
    send(cut, drawn)
    for action in schedule:
        act(cut, action)
    cut.run(3)
    assert public(cut) == public(whole)


@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(drawn=st.lists(calls, min_size=5, max_size=60), schedule=actions)
def test_any_number_of_workers(pipeline, drawn, schedule):
    whole = tm.testing.Driver(pipeline, partitions=4, now=START)
    send(whole, drawn)
    whole.run()
    shared = tm.testing.Driver(pipeline, partitions=4, now=START)
    send(shared, drawn)
    workers = [
        MemoryWorker(shared.plan, shared.plan.stages, shared.log, lambda: 0.0, partitions=own)
        for own in ([0], [1, 3], [2])
    ]
    for _, number, size, _ in schedule:
        workers[number % 3].step(size)
    # First all events are read, then what they lead to comes from one worker to the other and back.
    for _ in range(3):
        for worker in workers:
            worker.run(5)
    assert public(shared) == public(whole)


@settings(max_examples=5, suppress_health_check=list(HealthCheck))
@given(drawn=st.lists(calls, min_size=5, max_size=40), schedule=actions)
def test_at_least_once_repeats_the_same_bytes_and_counts_nothing_twice(pipeline, drawn, schedule):
    """Outputs that went out before a crash, and again after it."""
    whole = tm.testing.Driver(pipeline, partitions=3, now=START)
    send(whole, drawn)
    whole.run()
    crashed = tm.testing.Driver(pipeline, partitions=3, now=START)
    send(crashed, drawn)
    commit = MemoryCommitter.commit

    for what, number, size, partitions in schedule:
        here = {p for p in partitions if p < 3}
        if what == "abort":
            failures = iter([True])

            def outputs_only(self, prepared, failures=failures):
                if not next(failures, False):
                    return commit(self, prepared)
                commit(self, replace(prepared, changelog=[], offsets={}))
                raise CommitAborted("the worker was killed here")

            with patch.object(MemoryCommitter, "commit", outputs_only):
                crashed.workers[0].step(size, here)
        else:
            act(crashed, (what, number, size, here))
    crashed.run()
    assert {topic: list(dict.fromkeys(map(repr, rows))) for topic, rows in public(crashed).items()} == {
        topic: list(map(repr, rows)) for topic, rows in public(whole).items()
    }
