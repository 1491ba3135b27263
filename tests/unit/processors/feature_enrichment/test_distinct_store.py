from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors import feature_enrichment as fe
from tidemill.processors.feature_enrichment import distinct_kernel
from tidemill.processors.feature_enrichment.distinct_store import as_bits
from tidemill.processors.feature_enrichment.window_store import WindowStore

SECOND = 1_000_000


def feed(store, values, times=None, keys=None, name="n"):
    count = len(values)
    times = np.array(times if times is not None else [0] * count, np.int64) * SECOND
    return store.update(pa.array(keys or ["a"] * count, pa.string()), times, {"x": values})[name].to_pylist()


def make(limit=100, **spans):
    return WindowStore(fe.window("k", **{"over": "10s", "resolution": "1s", **spans}, n=fe.distinct("x", limit)))


def test_text_is_told_apart_and_nulls_are_passed_over():
    texts = pa.array(["UA", "AA", None, "UA", "", "é", "UA"])
    assert feed(make(), texts) == [0, 1, 2, 2, 2, 3, 4]
    assert feed(make(), texts.cast(pa.large_string())[2:]) == [0, 0, 1, 2, 3]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([2**62, 2**62 + 1, 2**62], pa.int64()),
        ([0.1, 0.2, 0.1], pa.float64()),
        ([True, False, True], pa.bool_()),
        ([date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 1)], pa.date32()),
        ([datetime(2024, 1, 1), datetime(2024, 1, 2), datetime(2024, 1, 1)], pa.timestamp("us")),  # noqa: DTZ001
    ],
    ids=str,
)
def test_numbers_days_and_moments_are_told_apart_by_their_value(values, kind):
    assert feed(make(), pa.array([*values, None, None], kind)) == [0, 1, 2, 2, 2]


def test_zeros_are_equal_and_nan_is_no_value():
    assert feed(make(), pa.array([0.0, -0.0, float("nan"), 1.0, 1.0])) == [0, 1, 1, 1, 2]


def test_the_limit_means_that_many_or_more():
    assert feed(make(3), pa.array(range(8))) == [0, 1, 2, 3, 3, 3, 3, 3]
    assert feed(make(1), pa.array([7, 7, 8, 9])) == [0, 1, 1, 1]


def test_one_field_may_have_two_limits():
    store = WindowStore(fe.window("k", "10s", "1s", few=fe.distinct("x", 2), many=fe.distinct("x", 4), n=fe.count()))
    made = store.update(pa.array(["a"] * 6), np.zeros(6, np.int64), {"x": pa.array(range(6))})
    assert {name: column.to_pylist() for name, column in made.items()} == {
        "few": [0, 1, 2, 2, 2, 2],
        "many": [0, 1, 2, 3, 4, 4],
        "n": [0, 1, 2, 3, 4, 5],
    }
    assert {made["few"].type, made["n"].type} == {pa.int64()}


def test_a_value_counts_while_a_bucket_of_it_is_in_the_window():
    values = pa.array(["a", "b", "a", "c", "d"])
    assert feed(make(), values, [0, 1, 5, 10, 11]) == [0, 1, 2, 2, 2]
    # Late: it does not see what is newer, and what is too old was dropped unless there is a grace.
    assert feed(make(), values, [0, 9, 12, 5, 12]) == [0, 1, 1, 0, 3]
    assert feed(make(grace="8s"), values, [0, 9, 12, 5, 12]) == [0, 1, 1, 1, 3]


def test_an_event_without_a_value_ages_the_others_and_one_too_old_is_not_added():
    values = pa.array(["a", None, "b", "c"])
    assert feed(make(), values, [0, 100, 50, 100]) == [0, 0, 0, 0]


def test_keys_are_apart_and_no_key_has_nothing():
    values = pa.array(["a", "b", "c", "d", "e"])
    assert feed(make(), values, keys=["p", "q", None, "p", "q"]) == [0, 0, 0, 1, 1]


def test_hashes_of_text_are_the_same_on_every_machine():
    # RFC 7693 by another implementation (b2sum -l 64), read as a little-endian number.
    assert as_bits(pa.array(["abc"])).tolist() == [
        int.from_bytes(bytes.fromhex("d8bb14d833d59559"), "little", signed=True)
    ]


def test_state_comes_back_from_rows():
    store = make(limit=3)
    feed(store, pa.array(["u", "v", "u", "w", "x", None]), [0, 1, 1, 2, 2, 3], ["a", "a", "a", "a", "a", "b"])
    older = store.rows(store.changed())
    feed(store, pa.array(["y"]), [4])
    newer = store.rows(store.changed())
    assert newer.to_pylist()[0]["x_value_buckets"] == [4, 2, 2, 1, 1, 0]
    assert older.schema == newer.schema == store.rows(np.array([], np.int64)).schema

    restored = make(limit=3)
    both = pa.Table.from_batches([older, newer]).combine_chunks().to_batches()[0]
    assert restored.apply(both.slice(1)).tolist() == [0, 1]
    assert restored.apply(both).tolist() == [1, 0, 1]
    assert restored.rows(np.array([1, 0])).equals(store.rows(np.array([0, 1])))
    more = pa.array(["z", "u", None]), [11, 12, -7], ["a", "b", "a"]
    assert feed(restored, *more) == feed(store, *more)
    assert restored.rows(np.array([1, 0])).equals(store.rows(np.array([0, 1])))


def test_restored_state_replaces_what_a_key_had():
    store = make()
    feed(store, pa.array(["u"]))
    saved = store.rows(store.changed())
    feed(store, pa.array(["v", "w"]))
    store.apply(saved)
    assert feed(store, pa.array(["u", "v", "v"])) == [1, 1, 2]


def test_memory_does_not_grow_with_the_log():
    store = make(limit=5)
    for second in range(0, 3000, 10):
        feed(store, pa.array(range(second, second + 10)), list(range(second, second + 10)))
        store.apply(store.rows(store.changed()))
    assert len(store._distinct._entries) < 200


def test_one_compilation_serves_every_window():
    for store in (make(), WindowStore(fe.window("k", "1h", n=fe.distinct("x"), m=fe.distinct("y", 7), z=fe.std("x")))):
        values = {field: pa.array([1]) for field in "xy"}
        store.update(pa.array(["a"]), np.array([0]), values)
        store.apply(store.rows(store.changed()))
    compiled = (distinct_kernel.update, distinct_kernel.restore, distinct_kernel.listed, distinct_kernel.lengths)
    assert [len(kernel.signatures) for kernel in compiled] == [1, 1, 1, 1]
