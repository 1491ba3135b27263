import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.processors.stage import Store
from tidemill.streams.changelog import BlockLog

SLACK = 1_000


class Numbers:
    """A store of numbers by key, as simple as can be, whose slots are used again after a key has expired."""

    def __init__(self):
        self.values, self.slots, self.keys, self.written = {}, {}, [], set()

    def put(self, key, value):
        if key not in self.slots:
            free = [slot for slot, held in enumerate(self.keys) if held is None]
            slot = free[0] if free else len(self.keys)
            if not free:
                self.keys.append(None)
            self.slots[key], self.keys[slot] = slot, key
        self.values[key] = value
        return self.slots[key]

    def write(self, key, value):
        self.written.add(self.put(key, value))

    def expire(self, key):
        if key in self.slots:
            self.keys[self.slots.pop(key)] = None
            del self.values[key]

    def changed(self):
        slots, self.written = sorted(self.written), set()
        return np.array(slots, np.int64)

    def alive(self, slots):
        return np.array([self.keys[slot] is not None for slot in slots], bool)

    def rows(self, slots):
        keys = [self.keys[slot] for slot in slots]
        assert None not in keys
        return pa.record_batch({"key": keys, "value": pa.array([self.values[key] for key in keys], pa.int64())})

    def apply(self, rows):
        pairs = zip(rows["key"].to_pylist(), rows["value"].to_pylist(), strict=True)
        return np.array([self.put(key, value) for key, value in pairs], np.int64)

    def __len__(self):
        return len(self.slots)


class Topic:
    """A compacted topic: what a restart reads, with or without what compaction would take away."""

    def __init__(self):
        self.messages = []

    def write(self, log):
        added = list(log.advance())
        self.messages += added
        return added

    def blocks(self):
        """The blocks that compaction keeps."""
        return {number: block for number, block in dict(self.messages).items() if block is not None}

    def restore(self, *, compacted, small):
        store = Numbers()
        log = BlockLog(store, max_block_bytes=small)
        latest = {number: place for place, (number, _) in enumerate(self.messages)}
        for place, (number, block) in enumerate(self.messages):
            if not compacted or latest[number] == place:
                log.restore(number, block)
        return store, log


def rows_of(block):
    return pa.ipc.open_stream(block).read_all().num_rows


keys = st.integers(0, 30).map(str)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.lists(st.tuples(keys, st.integers(0, 99)), max_size=20)),
        st.tuples(st.just("expire"), st.lists(keys, max_size=20)),
        st.tuples(st.just("commit"), st.none()),
        st.tuples(st.just("restart"), st.booleans()),
    ),
    max_size=30,
)


@settings(deadline=None, max_examples=150)
@given(steps, st.sampled_from([1, 600, 10**6]))
def test_a_restored_store_holds_what_was_committed(given_steps, small):
    store: Store = Numbers()
    topic, log, committed = Topic(), BlockLog(store, max_block_bytes=small), {}
    for kind, what in [*given_steps, ("commit", None), ("restart", True), ("restart", False)]:
        if kind == "write":
            for key, value in what:
                store.write(key, value)
        elif kind == "expire":
            for key in what:
                store.expire(key)
        elif kind == "commit":
            topic.write(log)
            committed = dict(store.values)
            assert sum(map(rows_of, topic.blocks().values())) <= 2 * len(store) + SLACK
        else:
            store, log = topic.restore(compacted=what, small=small)
            # Expired keys may come back: their store forgets them by its own clock. No committed key is lost.
            assert committed.items() <= store.values.items()
            for key in store.values.keys() - committed.keys():
                store.expire(key)
            assert len(store.changed()) == 0


def test_the_topic_stays_as_short_as_the_live_state():
    store, topic = Numbers(), Topic()
    log = BlockLog(store)
    written = 0
    for commit in range(400):
        for i in range(50):
            store.write(str((commit * 7 + i) % 500), commit)
        written += sum(rows_of(block) for _, block in topic.write(log) if block is not None)
        assert sum(map(rows_of, topic.blocks().values())) <= 2 * len(store) + SLACK
    # 20,000 writes: cleaning has copied less than each once more.
    assert 20_000 < written < 40_000
    assert len(topic.blocks()) < 60


def test_keys_that_are_never_written_again_are_carried_over_before_their_block_goes():
    store, topic = Numbers(), Topic()
    log = BlockLog(store)
    store.write("old", 1)
    topic.write(log)
    for commit in range(100):
        for key in range(40):
            store.write(str(key), commit)
        topic.write(log)
    assert 0 not in topic.blocks()
    restored, _ = topic.restore(compacted=True, small=10**6)
    assert restored.values == store.values


def test_a_tombstone_is_written_for_every_block_that_is_dropped():
    store, topic = Numbers(), Topic()
    log = BlockLog(store)
    for i in range(3000):
        store.write(str(i), i)
    topic.write(log)
    for i in range(3000):
        store.expire(str(i))
    assert topic.write(log) == [(0, None)]
    assert topic.write(log) == []


def test_nothing_changed_nothing_written():
    assert list(BlockLog(Numbers()).advance()) == []


def test_blocks_are_split_to_their_greatest_size():
    store = Numbers()
    log = BlockLog(store, max_block_bytes=2_000)
    for i in range(1000):
        store.write(str(i), i)
    blocks = list(log.advance())
    assert [number for number, _ in blocks] == list(range(len(blocks)))
    assert all(len(block) <= 2_000 for _, block in blocks)
    assert sum(rows_of(block) for _, block in blocks) == 1000


def test_a_row_larger_than_a_block_is_written_all_the_same():
    store = Numbers()
    store.write("x" * 5_000, 1)
    assert len(list(BlockLog(store, max_block_bytes=100).advance())) == 1


def test_numbers_go_on_after_a_restart():
    store, topic = Numbers(), Topic()
    store.write("a", 1)
    topic.write(BlockLog(store))
    store, log = topic.restore(compacted=False, small=10**6)
    store.write("b", 2)
    assert [number for number, _ in topic.write(log)] == [1]
