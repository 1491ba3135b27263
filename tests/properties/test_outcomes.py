"""Outcomes against a naive oracle: whatever the order, the cuts and the restarts."""

from collections import defaultdict

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.hops.block import Block, Mark
from tidemill.streams.memory import MemoryLog, MemoryReader, columns
from tidemill.streams.memory_worker import MemoryCommitter
from tidemill.streams.outcomes.task import OutcomesTask
from tidemill.streams.rejections import StoredRejection

HOUR = 3_600_000_000
WITHIN = 6 * HOUR
EVENT = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "station", "type": ["null", "string"]},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "height", "type": ["null", "double"]},
    ],
}
LABEL = {
    "type": "record",
    "name": "Flood",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "over", "type": "boolean"},
        {"name": "no", "type": "int"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    ],
}


def plan(**policies):
    labels = tm.Labels(LABEL, id="id", label=pl.col("over"), time="at", within="6h", grace="0s", **policies)
    return tm.Pipeline(
        "tides",
        tm.Events(EVENT, key="station", time="at", id="id"),
        features=[tm.fields("height", "station")],
        labels=labels,
        model=tm.Model(LogisticRegression(), ["height", "station"], prior=0.25),
    ).plan()


PLANS = {
    (late, changed, revised): plan(late=late, changed=changed, revision="no" if revised else None)
    for late in ("reject", "join")
    for changed in ("revise", "reject")
    for revised in (False, True)
}


def oracle(predictions, labels, late, changed, revised):
    """What comes of each event, revision by revision, and which labels are refused, by their number."""
    outcomes, refused = defaultdict(list), set()
    clock = max((time for _, time in predictions), default=-1)
    times = dict(reversed(predictions))
    for number, (event, over, time, no) in enumerate(labels):
        if event not in times:
            refused |= {number} if time + WITHIN < clock else set()
        elif time - times[event] > WITHIN and late == "reject":
            refused.add(number)
        elif not outcomes[event]:
            outcomes[event].append((over, time, no if revised else 0))
        else:
            last, _, reached = outcomes[event][-1]
            if (revised and no < reached) or (over == last and not (revised and no > reached)):
                continue
            if changed == "revise":
                outcomes[event].append((over, time, no if revised else reached + 1))
            else:
                refused.add(number)
    return {event: rows for event, rows in outcomes.items() if rows}, refused


def block(plan, given, source, offset):
    schema = plan.make_outcomes().scored
    if source == "label_intake":
        event, over, time, no = given
        row = {"event_id": event, "label": over, "label_time": time, "revision": no, "confidence": None}
        row |= {"annotator": None, "partition": 0, "offset": offset, "record_time": 0}
        return Block(pa.Table.from_pylist([row]), source).message()
    event, time = given
    row = {"event_id": event, "event_time": time, "source_partition": 0, "source_offset": offset}
    row |= {"height": float(offset), "station": None if offset % 3 else f"s{offset}", "model_version": "m"}
    row |= {"value": True, "probability_false": 0.25, "probability_true": 0.75}
    rows = pa.Table.from_pylist([row], schema)
    return Block(rows, source, {0: Mark(time, offset + 1)}).message()


def run(plan, sequence, predictions, labels, steps):
    """Feed the blocks in this sequence, so many a batch, with what happens after each; returns the log."""
    log = MemoryLog(
        {plan.topic(name): 1 for name in ("scored", "changelog", "outcomes", "rejected", "labels", "events")}
    )
    for number in range(len(labels)):
        log.append(plan.topic("labels"), b"%d" % number, b"label %d" % number, partition=0)
    given = {"label_intake": list(enumerate(labels)), "online_inference": list(enumerate(predictions))}
    for source in sequence:
        offset, row = given[source].pop(0)
        log.append(plan.topic("scored"), None, block(plan, row, source, offset), partition=0)
    task, start, turn = None, 0, 0
    while start < len(sequence) or turn == 0:
        size, event = steps[turn % len(steps)]
        turn += 1
        if event == "compact":
            log.compact(plan.topic("changelog"))
        if task is None or event is not None:
            task = OutcomesTask(plan, KnownSchemas(plan.contracts.values()), MemoryReader(log), lambda _: None)
            start = task.assigned(0) or 0
        if event == "twice":
            # A writer that delivers at least once repeats what it wrote.
            for record in list(log.read(plan.topic("scored"), 0, 0, min(start, 3))):
                log.append(plan.topic("scored"), None, record.value, partition=0)
        records = columns(list(log.read(plan.topic("scored"), 0, start, start + size)))
        if not len(records):
            break
        prepared = task.prepare(records)
        if event == "abort":
            task = None
            continue
        MemoryCommitter(log, plan.topic("scored"), "", plan.topic("changelog")).commit(prepared)
        task.committed(prepared)
        start += len(records)
    return log


def found(plan, log):
    codec = Codec(plan.contracts["outcomes"], KnownSchemas())
    records = list(log.read(plan.topic("outcomes"), 0))
    outcomes = defaultdict(list)
    for row in codec.decode([record.value for record in records]).table.to_pylist():
        assert row["height"] == float(row["source_offset"])
        assert row["station"] == (None if row["source_offset"] % 3 else f"s{row['source_offset']}")
        micros = round(row["label_time"].timestamp() * 1_000_000)
        outcomes[row["event_id"]].append((row["label"], micros, row["revision"]))
    rejections = [StoredRejection.of(record) for record in log.read(plan.topic("rejected"), 0)]
    assert all(r.record.value == b"label %d" % r.offset for r in rejections)
    assert len({r.offset for r in rejections}) == len(rejections)
    return dict(outcomes), {r.offset for r in rejections}


hours = st.integers(0, 12).map(lambda hour: hour * HOUR)
events = st.lists(st.tuples(st.sampled_from("abcde"), hours), unique_by=lambda e: e[0], max_size=5)
labels = st.lists(st.tuples(st.sampled_from("abcdex"), st.booleans(), hours, st.integers(0, 3)), max_size=10)
steps = st.lists(
    st.tuples(st.integers(1, 4), st.sampled_from([None, None, "restart", "abort", "compact", "twice"])),
    min_size=1,
    max_size=6,
).filter(lambda steps: any(event != "abort" for _, event in steps))


@pytest.mark.parametrize("policies", PLANS, ids=str)
@settings(max_examples=25)
@given(predictions=events, labels=labels, steps=steps, data=st.data())
def test_what_comes_of_an_event_depends_on_its_prediction_and_labels_alone(policies, predictions, labels, steps, data):
    plan = PLANS[policies]
    sources = ["online_inference"] * len(predictions) + ["label_intake"] * len(labels)
    sequence = data.draw(st.permutations(sources))
    outcomes, refused = found(plan, run(plan, sequence, predictions, labels, steps))
    expected, expected_refused = oracle(predictions, labels, *policies)
    assert outcomes == expected
    known = {event for event, _ in predictions}
    unknown_yet = {n for n, label in enumerate(labels) if label[0] in known and n not in expected_refused}
    # A label may be told as unknown before its prediction comes; it is joined all the same.
    assert expected_refused <= refused <= expected_refused | unknown_yet


@settings(max_examples=25)
@given(events=st.lists(hours, min_size=1, max_size=12), steps=steps)
def test_predictions_are_forgotten_in_the_order_of_their_time(events, steps):
    plan = PLANS["reject", "revise", False]
    make = plan.make_outcomes
    plan = _with_spare(plan, make)
    predictions = [(f"e{n}", time) for n, time in enumerate(events)]
    log = run(plan, ["online_inference"] * len(events), predictions, [], [*steps, (1, None)])
    task = OutcomesTask(plan, KnownSchemas(plan.contracts.values()), MemoryReader(log), lambda _: None)
    task.assigned(0)
    store = task._stage.of(0).predictions
    clock, step = max(events), max(WITHIN // 64, 1_000_000)
    kept = [time for time in events if (time // step + 1) * step + WITHIN > clock]
    assert len(store) == len(kept)
    assert len(task._stage.of(0)._ids) == len(kept)


def _with_spare(plan, make):
    from dataclasses import replace

    def without():
        outcomes = make()
        outcomes._spare = 0
        return outcomes

    return replace(plan, make_outcomes=without)


def test_a_wide_batch_of_labels_and_predictions_agrees_with_the_oracle():
    rng = np.random.default_rng(7)
    plan = PLANS["reject", "revise", False]
    predictions = [(f"e{n}", int(time)) for n, time in enumerate(rng.integers(0, 24, 300) * HOUR)]
    labels = [
        (f"e{n}", bool(over), int(time), 0)
        for n, over, time in zip(
            rng.integers(0, 330, 900), rng.random(900) < 0.5, rng.integers(0, 40, 900) * HOUR, strict=True
        )
    ]
    sequence = rng.permutation(["online_inference"] * len(predictions) + ["label_intake"] * len(labels)).tolist()
    outcomes, refused = found(plan, run(plan, sequence, predictions, labels, [(400, None), (90, "restart"), (7, None)]))
    expected, expected_refused = oracle(predictions, labels, "reject", "revise", False)
    assert outcomes == expected
    assert expected_refused <= refused
