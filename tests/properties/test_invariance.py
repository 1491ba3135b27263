"""However the log is cut, whoever has the stages, wherever a worker stops: the same bytes on every topic."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from unittest.mock import patch

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tidemill as tm
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import CommitAborted
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.memory_worker import MemoryCommitter
from tidemill.streams.rejections import HEADERS

PARTITIONS = 3
STAGES = ("sanity_check", "feature_enrichment", "online_inference")
NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def maybe(kind):
    return ["null", kind]


RIDE = tm.Contract.parse(
    {
        "type": "record",
        "name": "Ride",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "rider", "type": maybe("string"), "default": None},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "seats", "type": "int", "constraints": {"minimum": 0}},
            {"name": "distance", "type": maybe("double"), "default": None},
            {"name": "fare", "type": "float"},
            {"name": "code", "type": maybe("string"), "default": None},
            {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["solo", "pool"]}},
            {"name": "zone", "type": maybe("int"), "default": None},
        ],
    }
)
ZONE = tm.Contract.parse(
    {
        "type": "record",
        "name": "Zone",
        "fields": [{"name": "zone", "type": "int"}, {"name": "toll", "type": maybe("double"), "default": None}],
    }
)
TIP = {
    "type": "record",
    "name": "Tip",
    "fields": [{"name": "id", "type": "string"}, {"name": "tipped", "type": "boolean"}],
}
NUMBERS = ["fare", "distance", "toll", "trips", "sum_distance", "ewma", "ratio"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    """One of every check and every feature."""
    folder = tmp_path_factory.mktemp("invariance")
    (folder / "districts.csv").write_text("letter,district\nA,north\nB,south\nC,\n")
    return tm.Pipeline(
        "rides",
        tm.Events(RIDE, key="rider", time="at", id="id", nan="null"),
        checks=[
            tm.present("kind"),
            tm.between("distance", 0, 100),
            tm.between("distance", None, 50, on_failure="warn"),
            tm.one_of("kind", ["solo", "pool"]),
            tm.matches("code", "^[A-D0-9]*$"),
            tm.check("code_is_short", pl.col("code").str.len_chars() <= 4),
            tm.check("zone_divides", pl.col("zone").cast(pl.String).str.to_integer() != 13),
            tm.not_older_than("2h"),
            tm.not_in_future("30m"),
            tm.not_late("45m"),
            tm.unique(within="20m"),
        ],
        tables=[tm.topic_table("zones", ZONE, key=["zone"])],
        features=[
            tm.fields("fare", "distance", "seats", "kind"),
            tm.expression(letter=pl.col("code").str.slice(0, 1)),
            tm.lookup(tm.file_table("districts", "districts.csv", key=["letter"]), on=["letter"], columns=["district"]),
            tm.lookup("zones", on=["zone"], columns=["toll"]),
            # Raises for a code such as "A1", so that some events are rejected here.
            tm.expression(number=pl.col("code").str.slice(1).str.to_integer(strict=True)),
            tm.window(
                "rider",
                over="40m",
                resolution="10m",
                grace="10m",
                trips=tm.count(),
                priced=tm.count("toll"),
                sum_distance=tm.sum("distance"),
                mean_fare=tm.mean("fare"),
                least=tm.min("distance"),
                most=tm.max("distance"),
                earliest=tm.first("fare"),
                latest=tm.last("fare"),
                spread=tm.std("fare"),
                zones=tm.distinct("zone", limit=1),
                letters=tm.distinct("letter"),
                since=tm.time_since_last(),
                ewma=tm.decayed_mean("fare", "15m"),
            ),
            tm.window("rider", over="5m", resolution="5m", quick=tm.count()),
            # Depends on a window.
            tm.expression(ratio=pl.col("sum_distance") / (pl.col("trips") + 0.1)),
        ],
        labels=tm.Labels(TIP, id="id", label=pl.col("tipped")),
        model=tm.Model(LogisticRegression(), features=NUMBERS, prior=0.3),
        partitions=PARTITIONS,
        base=folder,
    )


@pytest.fixture(scope="module")
def announcement(pipeline):
    """What announcing a fitted model, a shadow and a canary leaves on the log, by topic."""
    chance = np.random.default_rng(1)
    rows = pd.DataFrame(chance.normal(size=(200, len(NUMBERS))), columns=NUMBERS)
    model = make_pipeline(SimpleImputer(), StandardScaler(), LogisticRegression())
    model.fit(rows, rows["fare"] + chance.normal(size=200) > 0)
    driver = tm.testing.Driver(pipeline)
    driver.serve(model)
    # One that answers otherwise, and one that fails on every row with a null.
    driver.serve(make_pipeline(SimpleImputer(), LogisticRegression(C=0.01)).fit(rows, rows["toll"] > 0), role="shadow")
    driver.serve(LogisticRegression().fit(rows, rows["trips"] > 0), role="canary", share=0.5)
    return Announcement({topic: driver.records(topic) for topic in ("model-artefacts", "models")})


class Announcement:
    """Messages by topic; the artefact's bytes are no help in an error report."""

    def __init__(self, records):
        self.records = records

    def __repr__(self):
        return "<a model>"


sound = st.fixed_dictionaries(
    {
        "id": st.sampled_from([f"r{n}" for n in range(40)]),
        "rider": st.sampled_from(["ann", "bob", "cy", "dee", "eve", None]),
        "minutes": st.sampled_from([0, 0, -1, -4, -11, -25, -46, 12]),
        "seats": st.just(2),
        "distance": st.sampled_from([None, 0.1, 0.2, 7.5, 1e-9, float("nan")]),
        "fare": st.sampled_from([0.1, 3.7, 12.25, -0.0]),
        "code": st.sampled_from([None, "A1", "B22"]),
        "kind": st.sampled_from(["solo", "pool"]),
        "zone": st.sampled_from([None, 1, 2]),
    }
)
faults = st.sampled_from(
    [
        {"minutes": -130},
        {"minutes": 35},
        {"seats": -1},
        {"distance": 60.0},
        {"distance": 200.0},
        {"code": "AB"},
        {"code": "X"},
        {"code": "D99999"},
        {"zone": 13},
    ]
)
garbage = st.sampled_from([None, b"", b"\xc3\x01junk", b"{}", RIDE.fingerprint])


def pick(number, ride, fault, junk):
    """Of ten messages, eight are sound."""
    return ride if number < 80 else ride | fault if number < 94 else junk


message = st.tuples(st.integers(0, 90), st.builds(pick, st.integers(0, 99), sound, faults, garbage))
tolls = st.dictionaries(st.integers(1, 2), st.sampled_from([None, 0.5, 1.5, -2.0]), max_size=2)
phase = st.tuples(tolls, st.booleans(), st.lists(message, min_size=12, max_size=24))
part = st.sets(st.integers(0, PARTITIONS - 1), min_size=1)
action = st.one_of(
    st.tuples(st.just("step"), st.integers(0, 2), st.integers(1, 9), part),
    st.tuples(st.just("step"), st.integers(0, 2), st.integers(1, 9), part),
    st.tuples(st.just("abort"), st.integers(0, 2), st.integers(1, 9), part),
    st.tuples(st.just("restart"), st.booleans()),
    st.tuples(st.just("regroup")),
)

CODEC = Codec(RIDE, KnownSchemas())


def feed(driver, phase, announcement):
    """Put a phase's table rows, its model and its events on the log."""
    rows, served, messages = phase
    for zone, toll in rows.items():
        if toll == -2.0:
            driver.delete_from_table("zones", {"zone": zone})
        else:
            driver.put_table("zones", {"zone": zone, "toll": toll})
    if served:
        for topic, records in announcement.records.items():
            for record in records:
                driver.log.append(f"rides.{topic}", record.key, record.value, partition=0)
    times = [driver.now + timedelta(seconds=after) for after in accumulate(seconds for seconds, _ in messages)]
    sound = [(time, made) for time, (_, made) in zip(times, messages, strict=True) if isinstance(made, dict)]
    rows = [made | {"at": time + timedelta(minutes=made["minutes"])} for time, made in sound]
    for row in rows:
        del row["minutes"]
    values = iter(CODEC.encode_rows(rows))
    for seconds, made in messages:
        driver.advance(timedelta(seconds=seconds))
        if isinstance(made, dict):
            driver.send_bytes(next(values), key=None if made["rider"] is None else made["rider"].encode())
        else:
            driver.send_bytes(made, key=b"ann")


def act(driver, action):
    match action:
        case ("restart", compacted):
            if compacted:
                driver.log.compact("rides.changelog")
            driver.restart()
        case ("regroup",):
            driver.run()
            # A stage that no event of a partition has reached has no position there, so it cannot be fused yet.
            with suppress(tm.StreamError):
                driver.restart(stages="all" if len(driver.workers) > 1 else "each")
        case ("step", worker, size, partitions):
            driver.workers[worker % len(driver.workers)].step(size, partitions)
        case ("abort", worker, size, partitions):
            commit, failures = MemoryCommitter.commit, iter([True])

            def flaky(self, prepared):
                if next(failures, False):
                    raise CommitAborted("the transaction was rolled back")
                commit(self, prepared)

            with patch.object(MemoryCommitter, "commit", flaky):
                driver.workers[worker % len(driver.workers)].step(size, partitions)


def outputs(driver):
    """Everything that subscribers get; rejections by their event, as stages that run apart write them in any order."""
    found = {}
    for topic in ("validated", "features", "predictions", "shadow-predictions"):
        found[topic] = [(r.partition, r.timestamp, r.key, r.value, r.headers) for r in driver.records(topic)]
    rejected = [(r.partition, r.timestamp, r.key, r.value, r.headers) for r in driver.records("rejected")]
    by_event = [HEADERS["partition"], HEADERS["offset"]]
    found["rejected"] = sorted(rejected, key=lambda r: [int(dict(r[4])[name]) for name in by_event])
    return found


def run(pipeline, announcement, phases, stages, actions):
    driver = tm.testing.Driver(pipeline, stages=stages, now=NOW)
    for number, phase in enumerate(phases):
        feed(driver, phase, announcement)
        for action in actions[number :: len(phases)]:
            act(driver, action)
        driver.run()
    return driver


@settings(max_examples=12)
@given(
    phases=st.lists(phase, min_size=2, max_size=3),
    stages=st.sampled_from(["all", "each"]),
    actions=st.lists(action, min_size=6, max_size=14),
)
def test_the_same_bytes_however_the_log_is_cut(pipeline, announcement, phases, stages, actions):
    whole = run(pipeline, announcement, phases, "all", [])
    cut = run(pipeline, announcement, phases, stages, actions)
    assert outputs(cut) == outputs(whole)
    if stages == "all" and ("regroup",) not in actions:
        # Rejections of fused stages are in log order, however they are cut.
        assert cut.records("rejected") == whole.records("rejected")
    answers = len(whole.records("predictions")) + len(whole.records("rejected"))
    assert answers == len(whole.records("events"))
