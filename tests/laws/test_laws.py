"""The laws of the design, on every public stage, over a log in memory."""

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidemill.streams.plan import STAGES

EVENTS = 30
START = 1_700_000_000_000

heights = st.sampled_from([None, 0.1, 0.2, 0.3, -0.0, 1e-9, 5.5, 99.0, 101.0, math.nan, -math.inf]) | st.floats(-99, 99)
readings = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abcdefghijklmnopqrst"),
        "station": st.sampled_from(["A", "A", "A", "B", "D", None]),
        "at": st.integers(0, 60_000).map(lambda ms: START + ms),
        "count": st.sampled_from([1, 1, 1, 1, 1, 1, 1, -1]),
        "height": heights,
        "level": st.sampled_from([0.25, 1e30, -7.0, 3.5, 0.75, 2.0, 0.1, -0.5, math.nan]),
        # Not a number; one only to the base of ten; one that is too large; nothing; the others are fine.
        "tide": st.sampled_from(["66", "6", "5", "4", "3", "2", "6", "x", "9", "5000", None]),
    }
)
garbage = st.sampled_from([None, b"", b"{}", b"\xc3\x01", b"\xc3\x01" + b"?" * 20]) | st.binary(max_size=30)
spoil = st.tuples(st.sampled_from(["cut", "append", "overwrite"]), st.integers(0, 60))
contents = {
    "event": st.tuples(readings, st.none()),
    "broken": st.tuples(readings, spoil),
    "garbage": st.tuples(st.none(), garbage),
}
kinds = st.sampled_from(["event"] * 12 + ["broken", "garbage"])
messages = st.tuples(st.integers(0, 2), st.integers(0, 60_000), kinds.flatmap(contents.__getitem__))


def logs(world):
    """Messages of all partitions: events, events of which a piece is missing or changed, and bytes."""
    return st.lists(messages, min_size=8, max_size=EVENTS).map(lambda drawn: list(written(world, drawn)))


def written(world, drawn):
    values = iter(world.codec.encode_rows([event for _, _, (event, _) in drawn if event is not None]))
    for partition, after, (event, how) in drawn:
        if event is None:
            yield partition, START + after, None, how
            continue
        value = next(values)
        if how is not None:
            at = how[1] % len(value)
            value = {"cut": value[:at], "append": value + b"?", "overwrite": value[:at] + b"\xff" + value[at + 1 :]}[
                how[0]
            ]
        yield partition, START + after, (event["station"] or "").encode(), value


steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.tuples(*[st.sampled_from([0, 1, 2, 3, 50])] * 3),
        st.sampled_from(["", "", "restart", "abort"]),
    ),
    max_size=12,
)
thorough = settings(deadline=None, max_examples=12, suppress_health_check=list(HealthCheck))


@thorough
@given(data=st.data())
def test_conservation_and_no_silent_drop(any_world, data):
    """Each event ends as one prediction or one rejection, which says why and has the event's bytes."""
    world = any_world
    events = data.draw(logs(world))
    layout = data.draw(st.sampled_from(list(world.layouts())))
    broker, _ = world.run(events, layout, data.draw(steps))
    answers = world.answers(broker)
    original = {(p, r.offset): r for p in range(3) for r in broker.read(world.plan.topic("events"), p)}
    assert answers.keys() == original.keys()
    assert {len(found) for found in answers.values()} <= {1}
    for event, ((kind, fields),) in answers.items():
        if kind == "rejected":
            assert fields["value"] == original[event].value
            assert fields["topic"] == world.plan.topic("events")
            assert fields["stage"] in world.plan.stages
            assert fields["reason"].isidentifier()
            assert len(fields["message"]) > 20


@pytest.mark.parametrize("stage", STAGES)
@thorough
@given(data=st.data())
def test_every_stage_accepts_or_rejects_each_row_once(world, stage, data):
    events = data.draw(logs(world))
    before = STAGES[: STAGES.index(stage)]
    broker, _ = world.run(events, tuple((name,) for name in before))
    received = count(world, broker, world.plan.input_of(stage))
    rejected = count(world, broker, world.plan.topic("rejected"))
    _, workers = world.run(events, ((stage,),), data.draw(steps), broker=broker)
    accepted = count(world, broker, world.plan.output_of(stage))
    newly = count(world, broker, world.plan.topic("rejected")) - rejected
    assert accepted + newly == received
    assert (workers[0].counts[stage, "accepted"], workers[0].counts[stage, "rejected"]) == (accepted, newly)


def count(world, broker, topic):
    return sum(len(list(broker.read(topic, partition))) for partition in range(3))


@thorough
@given(data=st.data())
def test_the_same_bytes_however_the_log_is_cut_and_whoever_runs_the_stages(every_world, data):
    """Batch invariance, restarts and aborted commits at any cut, and parity of a replay with the live run."""
    world = every_world
    events = data.draw(logs(world))
    whole = world.public(world.run(events)[0])
    layout = data.draw(st.sampled_from(list(world.layouts())))
    assert world.public(world.run(events, layout, data.draw(steps))[0]) == whole
    one_by_one = [(number, (1, 1, 1), "") for number in range(len(layout)) for _ in events]
    assert world.public(world.run(events, layout, one_by_one)[0]) == whole


@pytest.mark.parametrize("kind", ["bytes", "refused"])
@thorough
@given(data=st.data())
def test_garbage_changes_nothing_about_its_neighbours(any_world, kind, data):
    """Isolation: a log with garbage in some places gives what it gives where these places are empty."""
    world = any_world
    spoilt = data.draw(st.sets(st.integers(0, EVENTS - 1), max_size=10))
    ends, events = [0, 0, 0], []
    for number, (partition, timestamp, key, value) in enumerate(data.draw(logs(world))):
        if number in spoilt:
            value = data.draw(garbage) if kind == "bytes" else refused(world, data.draw(readings))
        events.append((partition, timestamp, key, value, ends[partition]))
        ends[partition] += 1
    clean = [event for number, event in enumerate(events) if number not in spoilt]
    bad = {(event[0], event[4]) for number, event in enumerate(events) if number in spoilt}
    schedule = data.draw(steps)
    spoiled, alone = (world.run(log, schedule=schedule)[0] for log in (events, clean))
    for suffix in ("validated", "features", "predictions"):
        assert messages_of(world, spoiled, suffix) == messages_of(world, alone, suffix)
    answers = world.answers(spoiled)
    assert all(answers[place][0][0] == "rejected" for place in bad)
    assert repr({place: found for place, found in answers.items() if place not in bad}) == repr(world.answers(alone))


def refused(world, event):
    """Sound bytes that the contract refuses, with all that could do harm: ids that others have, a time far ahead."""
    return world.codec.encode_rows([{**event, "count": -1, "at": START + 10**9}])[0]


@pytest.mark.parametrize("stage", STAGES[1:])
@thorough
@given(data=st.data())
def test_garbage_on_an_intermediate_topic_spoils_only_itself(world, stage, data):
    events = data.draw(logs(world))
    before = tuple((name,) for name in STAGES[: STAGES.index(stage)])
    alone, spoiled = (world.run(events, before)[0] for _ in range(2))
    topic, inserted = world.plan.input_of(stage), 0
    for partition in range(3):
        records = list(spoiled.read(topic, partition))
        spoiled.topics[topic, partition].clear()
        for record in records:
            for value in data.draw(st.lists(garbage, max_size=2)):
                spoiled.append(topic, partition, 0, None, value)
                inserted += 1
            spoiled.append(topic, partition, record.timestamp, record.key, record.value)
    schedule = data.draw(steps)
    for broker in (alone, spoiled):
        world.run(events, ((stage,),), schedule, broker=broker)
    output = world.plan.output_of(stage).removeprefix("laws.")
    assert messages_of(world, spoiled, output) == messages_of(world, alone, output)
    rejected = world.plan.topic("rejected")
    assert count(world, spoiled, rejected) == count(world, alone, rejected) + inserted


def messages_of(world, broker, suffix):
    return {key: records for key, records in world.public(broker).items() if key[0] == suffix}
