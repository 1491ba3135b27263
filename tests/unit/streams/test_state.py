import json

import numpy as np
import pyarrow as pa
import pytest

from tidemill.schemas.errors import StreamError
from tidemill.streams.state import PartitionState

SCHEMA = pa.schema([("key", pa.string())])


class Keys:
    """A store of keys that only grows."""

    def __init__(self):
        self.keys, self.new = [], []

    def add(self, key):
        self.keys.append(key)
        self.new.append(len(self.keys) - 1)

    def changed(self):
        slots, self.new = np.array(self.new, np.int64), []
        return slots

    def alive(self, slots):
        return np.ones(len(slots), bool)

    def rows(self, slots):
        return pa.record_batch([pa.array([self.keys[slot] for slot in slots], pa.string())], schema=SCHEMA)

    def apply(self, rows):
        slots = np.arange(len(self.keys), len(self.keys) + rows.num_rows)
        self.keys += rows["key"].to_pylist()
        return slots

    def __len__(self):
        return len(self.keys)


class FakeStage:
    def __init__(self, name, *stores):
        self.name, self.held, self.time = name, {store: Keys() for store in stores}, {}

    def stores(self, partition):
        return self.held

    def clock(self, partition):
        return dict(self.time)

    def restore_clock(self, partition, clock):
        self.time = dict(clock)


@pytest.fixture
def state():
    """A partition's state over new stages of these names, each with the stores given."""

    def make(topic="p.events", **stages):
        made = [FakeStage(name, *stores) for name, stores in stages.items()]
        return PartitionState("p.changelog", 0, made, topic), made

    return make


def commit(log, state, source, offset, topic="p.events"):
    for entry in state.advance(source, offset):
        log.append("p.changelog", 0, entry.key, entry.value)
    log.offsets[topic, 0] = offset


def test_a_partition_that_was_never_processed(state, log):
    fresh, _ = state(a=["x"])
    assert fresh.restore(log) is None
    assert fresh.source_offset == 0


def test_state_position_and_clock_come_back_together(state, log):
    first, (a, b) = state(a=["x", "y"], b=[])
    assert first.restore(log) is None
    a.held["x"].add("k1")
    a.held["y"].add("k2")
    a.time, b.time = {"watermark": 5}, {}
    commit(log, first, 10, 10)
    a.held["x"].add("k3")
    a.time = {"watermark": 7}
    commit(log, first, 12, 12)
    second, (a, b) = state(a=["x", "y"], b=[])
    assert second.restore(log) == 12
    assert second.source_offset == 12
    assert (a.held["x"].keys, a.held["y"].keys) == (["k1", "k3"], ["k2"])
    assert (a.time, b.time) == ({"watermark": 7}, {})


def test_the_messages_of_a_commit(state, log):
    fresh, (a,) = state(a=["x"])
    a.held["x"].add("k")
    entries = list(fresh.advance(3, 4))
    assert [entry.key for entry in entries] == [b"a/x/000000000000", b"position/a"]
    assert json.loads(entries[1].value) == {"source_offset": 3, "input": "p.events", "input_offset": 4, "clock": {}}
    assert [entry.key for entry in fresh.advance(None, 5)] == [b"position/a"]
    assert fresh.source_offset == 3
    list(fresh.advance(1, 6))
    assert fresh.source_offset == 3


def test_a_group_that_is_behind_the_state_goes_on_from_the_state(state, log):
    first, _ = state(a=[])
    commit(log, first, 10, 10)
    log.offsets["p.events", 0] = 4
    assert state(a=[])[0].restore(log) == 10


def test_a_group_that_is_ahead_of_the_state_is_refused(state, log):
    first, _ = state(a=[])
    commit(log, first, 10, 10)
    log.offsets["p.events", 0] = 11
    with pytest.raises(StreamError, match=r"committed offset is 11, but the state on p\.changelog stands at 10"):
        state(a=[])[0].restore(log)


def test_a_changelog_that_was_deleted_is_noticed(state, log):
    first, _ = state(a=["x"])
    commit(log, first, 10, 10)
    log.topics.clear()
    with pytest.raises(StreamError, match="was the changelog topic deleted"):
        state(a=["x"])[0].restore(log)


def test_a_group_at_the_very_beginning_has_lost_nothing(state, log):
    log.offsets["p.events", 0] = 0
    assert state(a=["x"])[0].restore(log) == 0


def test_with_another_input_the_groups_offset_counts_and_events_are_told_by_their_source(state, log):
    fused, _ = state(a=[], b=[])
    commit(log, fused, 10, 10)
    apart, _ = state("p.middle", b=[])
    assert apart.restore(log) is None
    assert apart.source_offset == 10
    log.offsets["p.middle", 0] = 3
    again, _ = state("p.middle", b=[])
    assert again.restore(log) == 3


@pytest.fixture
def apart(state, log):
    """Two stages that ran in workers of their own: how far each has come."""

    def run(a, b, read):
        commit(log, state(a=[])[0], a, a)
        for offset in range(read):
            log.append("p.middle", 0, None, b"x", offset=offset)
        commit(log, state("p.middle", b=[])[0], b, read, "p.middle")

    return run


def test_stages_that_stand_at_the_same_event_can_be_fused(state, log, apart):
    apart(10, 10, 8)
    fused, _ = state(a=[], b=[])
    assert fused.restore(log) == 10


def test_stages_can_be_fused_when_the_last_events_were_rejected_by_the_first(state, log, apart):
    apart(10, 7, 5)
    fused, _ = state(a=[], b=[])
    assert fused.restore(log) == 10
    assert fused.source_offset == 10


def test_stages_that_stand_at_different_events_cannot_be_fused(state, log, apart):
    apart(10, 7, 5)
    log.append("p.middle", 0, None, b"x")
    with pytest.raises(StreamError, match=r"stand at different events \(\{'a': 10, 'b': 7\}\)"):
        state(a=[], b=[])[0].restore(log)


def test_a_stage_ahead_of_the_one_before_it_is_refused(state, log, apart):
    apart(7, 10, 5)
    with pytest.raises(StreamError, match="stand at different events"):
        state(a=[], b=[])[0].restore(log)


def test_a_stage_without_a_position_beside_one_that_has_it_is_refused(state, log):
    commit(log, state(a=[])[0], 10, 10)
    with pytest.raises(StreamError, match="stand at different events"):
        state(a=[], b=[])[0].restore(log)


def test_stores_of_other_stages_are_left_alone(state, log):
    fused, (_, b) = state(a=["x"], b=["y"])
    b.held["y"].add("k")
    commit(log, fused, 10, 10)
    alone, (a,) = state(a=["x"])
    assert alone.restore(log) == 10
    assert a.held["x"].keys == []
    assert [entry.key for entry in alone.advance(11, 11)] == [b"position/a"]


def test_a_store_that_is_no_longer_declared_is_deleted_with_the_next_commit(state, log):
    first, (a,) = state(a=["x", "old"])
    a.held["x"].add("k1")
    a.held["old"].add("k2")
    commit(log, first, 10, 10)
    log.append("p.changelog", 0, b"a/gone/000000000003", b"block")
    log.append("p.changelog", 0, b"a/gone/000000000003", None)
    second, (a,) = state(a=["x"])
    second.restore(log)
    assert a.held["x"].keys == ["k1"]
    entries = list(second.advance(11, 11))
    assert [(e.key, e.value) for e in entries[:-1]] == [(b"a/old/000000000000", None)]
    assert [entry.key for entry in second.advance(12, 12)] == [b"position/a"]
