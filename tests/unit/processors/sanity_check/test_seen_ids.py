import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.processors.sanity_check.seen_ids import SeenIds
from tidemill.processors.stage import Store


def check(seen, ids, times):
    return seen.check(pa.array(ids, pa.string()), np.array(times, np.int64))


class Oracle:
    """What `SeenIds` must say, without ever forgetting anything."""

    def __init__(self, within):
        self.within, self.now, self.first = within, None, {}

    def check(self, key, time):
        self.now = time if self.now is None else max(self.now, time)
        oldest = self.now - self.within
        if self.first.get(key, oldest - 1) >= oldest:
            return True
        if time >= oldest:
            self.first[key] = time
        return False


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(-40, 60)), max_size=60),
    st.sets(st.integers(0, 59)),
)
def test_it_agrees_with_an_oracle_also_after_restores_and_out_of_order(rows, restarts):
    oracle, seen, blocks = Oracle(10), SeenIds(10), []
    for i, (key, time) in enumerate(rows):
        assert check(seen, [key], [time]).tolist() == [oracle.check(key, time)]
        if i in restarts:
            slots = seen.changed()
            blocks.append(seen.rows(slots[seen.alive(slots)]))
            restored = SeenIds(10)
            for block in blocks:
                restored.apply(block)
            restored.stream_time = seen.stream_time
            assert restored.changed().tolist() == []
            seen = restored


def test_ids_that_expired_are_forgotten():
    seen: Store = SeenIds(within=10)
    check(seen, [str(i) for i in range(1000)], list(range(1000)))
    assert len(seen) == 11
    slots = seen.changed()
    assert set(seen.rows(slots[seen.alive(slots)])["id"].to_pylist()) == {str(i) for i in range(989, 1000)}


def test_slots_are_used_again():
    seen = SeenIds(within=10)
    for i in range(10_000):
        check(seen, [str(i)], [i])
    assert seen.changed().max() < 20


def test_restored_ids_expire_as_well():
    seen = SeenIds(within=10)
    seen.apply(pa.record_batch({"id": ["a", "b"], "seen": pa.array([0, 5], pa.int64())}))
    seen.stream_time = 8
    assert check(seen, ["a", "b", "c"], [8, 8, 11]).tolist() == [True, True, False]
    assert check(seen, ["a", "b"], [11, 11]).tolist() == [False, True]
    assert len(seen) == 3


def test_a_slot_is_reported_once():
    seen = SeenIds(within=10)
    check(seen, ["a", "b", "a"], [0, 15, 20])
    assert seen.changed().tolist() == [0, 1]
    assert seen.changed().tolist() == []


def test_all_slots_of_nothing():
    seen = SeenIds(within=10)
    assert seen.alive(np.array([], np.int64)).tolist() == []
    assert seen.rows(np.array([], np.int64)).num_rows == 0
