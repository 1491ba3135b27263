import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.processors import key_kernel
from tidemill.processors.key_index import KeyIndex

keys = st.lists(st.none() | st.text(max_size=12) | st.integers(0, 30).map(str), max_size=40)
steps = st.lists(st.tuples(keys, st.sets(st.integers(0, 60), max_size=20)), max_size=12)


@settings(deadline=None, max_examples=150)
@given(steps)
def test_it_does_what_a_dict_does_and_gives_slots_out_again(given_steps):
    index, oracle = KeyIndex(), {}
    for found, freed in given_steps:
        slots = index.find(pa.array(["sliced off", *found], pa.string())[1:]).tolist()
        for key, slot in zip(found, slots, strict=True):
            if key is None:
                assert slot == -1
            else:
                assert oracle.setdefault(key, slot) == slot
        assert len(set(oracle.values())) == len(index) == len(oracle)
        gone = sorted(freed & set(oracle.values()))
        index.free(np.array(gone, np.int64))
        oracle = {key: slot for key, slot in oracle.items() if slot not in gone}
        held = np.array(list(oracle.values()), np.int64)
        assert index.take(held).to_pylist() == list(oracle)
    assert index.used <= max([0, *(len([k for k in f if k is not None]) for f, _ in given_steps)]) * len(given_steps)


def test_keys_with_one_hash_are_told_apart_by_their_bytes():
    index = KeyIndex()
    slots = index.find(pa.array([str(i) for i in range(10)])).tolist()
    # As if all keys had the hash of "4".
    tag, cells = key_kernel._tag(np.frombuffer(b"4", np.uint8), 0, 1), index._cells
    cells[:] = key_kernel.NONE
    for place, slot in enumerate(slots):
        cells[(tag + place) & (len(cells) - 1)] = tag << 32 | slot
    assert index.find(pa.array(["4"])).tolist() == [4]
    index.free(np.array([0, 4]))
    assert index.find(pa.array(["4"])).tolist() == [4]
    assert index.take(np.array([1, 4])).to_pylist() == ["1", "4"]


def test_memory_does_not_grow_while_keys_come_and_go():
    index = KeyIndex()
    for i in range(300):
        slots = index.find(pa.array([f"a key of some length {i}-{j}" for j in range(200)]))
        index.free(slots)
    assert len(index) == 0
    assert index.used == 200
    assert index.nbytes < 300_000


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_any_text_and_nothing_at_all(kind):
    index = KeyIndex()
    assert index.find(pa.array([], kind)).tolist() == []
    assert index.find(pa.array([None, None], kind)).tolist() == [-1, -1]
    assert index.find(pa.array(["", "é\0é", "é"], kind)).tolist() == [0, 1, 2]
    assert index.take(np.array([1, 0])).to_pylist() == ["é\0é", ""]
    assert index.take(np.array([], np.int64)).to_pylist() == []
    assert len(key_kernel.find.signatures) == 1
