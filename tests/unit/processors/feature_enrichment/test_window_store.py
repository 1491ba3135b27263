import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors import feature_enrichment as fe
from tidemill.processors.feature_enrichment import window_kernel, window_rows_kernel
from tidemill.processors.feature_enrichment.window_store import WindowStore
from tidemill.streams.changelog import BlockLog

SECOND = 1_000_000


@pytest.fixture
def window():
    return fe.window("k", "10s", "1s", n=fe.count(), total=fe.sum("x"), mean=fe.mean("x"), last=fe.last("y"))


def feed(store, *events):
    keys, times, xs = zip(*events, strict=True)
    values = {"x": pa.array(xs, pa.int32()), "y": pa.array(xs, pa.float32())}
    made = store.update(pa.array(keys, pa.string()), np.array(times, np.int64) * SECOND, values)
    return {name: column.to_pylist() for name, column in made.items()}


def test_an_event_sees_the_earlier_ones_of_its_key_and_not_itself(window):
    seen = feed(WindowStore(window), ("a", 0, 5), ("b", 0, 7), ("a", 1, 6), ("a", 2, None), ("a", 2, 1))
    assert seen == {
        "n": [0, 0, 1, 2, 3],
        "total": [0.0, 0.0, 5.0, 11.0, 11.0],
        "mean": [None, None, 5.0, 5.5, 5.5],
        "last": [None, None, 5.0, 6.0, 6.0],
    }


def test_the_far_edge_is_exact_to_one_step_of_the_resolution(window):
    assert feed(WindowStore(window), ("a", 0, 1), ("a", 9, 2))["n"] == [0, 1]
    assert feed(WindowStore(window), ("a", 0, 1), ("a", 10, 2))["n"] == [0, 0]
    negative = feed(WindowStore(window), ("a", -10, 1), ("a", -1, 2), ("a", 0, 3))
    assert negative["n"] == [0, 1, 1]


def test_events_later_than_the_grace_are_not_added():
    def counts(grace):
        store = WindowStore(fe.window("k", "10s", "1s", grace, n=fe.count()))
        return feed(store, ("a", 100, 0), ("a", 90, 0), ("a", 91, 0), ("a", 100, 0))["n"]

    # The event at 90 lies outside (90, 100]: with a grace it is kept for the sake of other late ones.
    assert counts(None) == [0, 0, 0, 2]
    assert counts("1s") == [0, 0, 1, 2]


def test_null_keys_get_nulls_and_leave_nothing(window):
    store = WindowStore(window)
    assert feed(store, (None, 0, 1), (None, 0, 2)) == {
        "n": [0, 0],
        "total": [None, None],
        "mean": [None, None],
        "last": [None, None],
    }
    assert len(store) == 0
    assert len(store.changed()) == 0


def test_std_is_that_of_a_sample_and_holds_where_values_are_large_and_close():
    def spreads(*events):
        store = WindowStore(fe.window("k", "10s", "1s", spread=fe.std("x")))
        keys, times, xs = zip(*events, strict=True)
        values = {"x": pa.array(xs, pa.float64())}
        return store.update(pa.array(keys), np.array(times, np.int64) * SECOND, values)["spread"].to_pylist()

    # The event before the last is alone in its window's values.
    assert spreads(("a", 0, 1.0), ("a", 1, 2.0), ("a", 1, None), ("a", 2, 3.0), ("a", 12, 0.0), ("a", 12, 0.0)) == [
        None,
        None,
        pytest.approx(0.5**0.5),
        pytest.approx(0.5**0.5),
        None,
        None,
    ]
    assert spreads(*(("a", i // 3, 0.1) for i in range(9)))[2:] == [0.0] * 7
    around = [1e9 + x for x in (4.0, 7.0, 13.0, 16.0, 0.0)]
    assert spreads(*(("a", i, x) for i, x in enumerate(around)))[-1] == pytest.approx(30**0.5, rel=1e-12)
    assert np.isnan(spreads(("a", 0, np.inf), ("a", 0, 1.0), ("a", 0, 1.0))[-1])


def test_first_is_read_first_in_the_earliest_bucket_of_the_window():
    store = WindowStore(fe.window("k", "10s", "1s", first=fe.first("x"), since=fe.time_since_last()))
    seen = feed(store, ("a", 3, None), ("a", 3, 5), ("a", 3, 6), ("a", 1, 7), ("a", 4, 8), ("a", 12, 9), ("a", 30, 0))
    assert seen["first"] == [None, None, 5.0, None, 7.0, 5.0, None]
    # The latest bucket is that of second 3, even where one of second 1 was read after it.
    assert seen["since"] == [None, 0.0, 0.0, None, 1.0, 8.0, None]


def test_time_since_last_is_in_seconds_and_negative_within_a_bucket():
    store = WindowStore(fe.window("k", "1m", "10s", since=fe.time_since_last()))
    times = np.array([0, 1_500_001, 1_500_000, 2_000_000, -1, 59_999_999, 120_000_000, 120_000_000])
    keys = pa.array(["a"] * 7 + [None])
    assert store.update(keys, times, {})["since"].to_pylist() == [
        None,
        1.500001,
        -0.000001,
        0.5,
        None,
        57.999999,
        None,
        None,
    ]
    assert store.rows(store.changed()).to_pylist() == [
        {"key": "a", "seen": 12, "bucket": [12], "events": [1], "time": [120_000_000]}
    ]


def test_booleans_are_numbers_and_text_can_be_counted():
    store = WindowStore(fe.window("k", "1h", share=fe.mean("late"), named=fe.count("carrier")))
    made = store.update(
        pa.array(["a"] * 4),
        np.arange(4),
        {"late": pa.array([True, False, True, None]), "carrier": pa.array(["UA", None, "AA", "B6"])},
    )
    assert made["share"].to_pylist() == [None, 1.0, 0.5, 2 / 3]
    assert made["named"].to_pylist() == [0, 1, 1, 2]


def test_counts_are_integers_without_nulls_and_the_rest_are_floats(window):
    made = WindowStore(window).update(
        pa.array([], pa.string()),
        np.array([], np.int64),
        {"x": pa.array([], pa.int64()), "y": pa.array([], pa.int64())},
    )
    assert {name: column.type for name, column in made.items()} == {
        "n": pa.int64(),
        "total": pa.float64(),
        "mean": pa.float64(),
        "last": pa.float64(),
    }


def test_changed_names_the_written_keys_once(window):
    store = WindowStore(window)
    feed(store, ("a", 0, 1), ("b", 0, 1), ("a", 1, 1))
    assert store.rows(store.changed())["key"].to_pylist() == ["a", "b"]
    assert store.changed().tolist() == []
    # Too old to be added: nothing was written.
    feed(store, ("a", -100, 1))
    assert store.changed().tolist() == []
    feed(store, ("b", 1, 1), ("c", 1, 1))
    assert store.rows(store.changed())["key"].to_pylist() == ["b", "c"]


def test_alive_knows_which_slots_hold_a_key(window):
    store = WindowStore(window)
    feed(store, ("a", 0, 1), ("b", 0, 1))
    assert store.alive(np.array([0, 1, 2, -1])).tolist() == [True, True, False, False]


def test_rows_hold_what_the_aggregates_need_newest_bucket_first(window):
    store = WindowStore(window)
    feed(store, ("a", 0, 5), ("a", 3, 6), ("a", 3, 7), ("b", 1, None))
    rows = store.rows(store.changed())
    assert rows.to_pylist() == [
        {
            "key": "a",
            "seen": 3,
            "bucket": [3, 0],
            "events": [2, 1],
            "x_n": [2, 1],
            "x_sum": [13.0, 5.0],
            "y_n": [2, 1],
            "y_last": [7.0, 5.0],
        },
        {
            "key": "b",
            "seen": 3,
            "bucket": [1],
            "events": [1],
            "x_n": [0],
            "x_sum": [0.0],
            "y_n": [0],
            "y_last": [pytest.approx(float("nan"), nan_ok=True)],
        },
    ]
    assert rows.schema == store.rows(np.array([], np.int64)).schema


def test_apply_puts_back_sliced_rows_and_the_later_of_two_for_a_key(window):
    store = WindowStore(window)
    feed(store, ("a", 0, 5), ("b", 0, 50))
    older = store.rows(store.changed())
    feed(store, ("a", 1, 6))
    newer = store.rows(store.changed())

    restored = WindowStore(window)
    both = pa.Table.from_batches([older, newer]).combine_chunks().to_batches()[0]
    assert restored.apply(both.slice(1)).tolist() == [0, 1]
    assert restored.apply(both).tolist() == [1, 0, 1]
    assert restored.apply(both.slice(0, 0)).tolist() == []
    assert len(restored) == 2
    assert restored.changed().tolist() == []
    events = [("a", 2, 1), ("b", 2, 1)]
    assert feed(restored, *events) == feed(store, *events)


def test_restored_state_replaces_what_a_key_had(window):
    store = WindowStore(window)
    feed(store, ("a", 0, 5))
    saved = store.rows(store.changed())
    feed(store, ("a", 0, 6), ("a", 1, 7))
    store.apply(saved)
    assert feed(store, ("a", 1, 0))["total"] == [5.0]


def test_memory_does_not_grow_with_the_log(window):
    store = WindowStore(window)
    for second in range(0, 3000, 10):
        feed(store, *(("a", second + i, 1) for i in range(10)))
        store.apply(store.rows(store.changed()))
    assert len(store._links) < 100


def test_far_away_times_stay_in_range(window):
    store = WindowStore(window)
    feed(store, ("a", 0, 1))
    ends = np.array([2**63 - 1, -(2**63), 2**63 - 1], np.int64)
    numbers = pa.array([1, 1, 1])
    assert store.update(pa.array(["a", "a", "a"]), ends, {"x": numbers, "y": numbers})["n"].to_pylist() == [0, 0, 1]


def test_one_compilation_serves_every_window(window):
    feed(WindowStore(window), ("a", 0, 1))
    for other in (
        fe.window("k", "1h", n=fe.count()),
        fe.window("k", "1h", "7s", "9s", m=fe.decayed_mean("x"), l=fe.decayed_mean("y", "1h"), z=fe.min("z")),
    ):
        store = WindowStore(other)
        values = {field: pa.array([1.5]) for field in other.fields}
        store.update(pa.array(["a"]), np.array([0]), values)
        WindowStore(other).apply(store.rows(store.changed()))
    rows = window_rows_kernel
    compiled = (window_kernel.update, rows.restore, rows.nodes, rows.lengths, rows.sweep)
    assert [len(kernel.signatures) for kernel in compiled] == [1, 1, 1, 1, 1]


def test_idle_keys_leave_memory_and_changelog(window):
    store = WindowStore(window)
    log, blocks, reserved = BlockLog(store), {}, []
    for second in range(0, 2_000, 5):
        feed(store, *((f"{second}-{i}", second, 1) for i in range(200)))
        blocks |= dict(log.advance())
        reserved.append(store.nbytes)
    # The window and as much again: four or five batches of keys, and what has not been swept yet.
    assert 800 <= len(store) < 2_500
    assert reserved[-1] == reserved[50]
    live = [block for block in blocks.values() if block is not None]
    assert sum(pa.ipc.open_stream(block).read_all().num_rows for block in live) <= 2 * len(store) + 1_000


def test_a_key_that_comes_back_after_it_expired_is_as_new_and_takes_no_slot_of_anothers():
    store = WindowStore(fe.window("k", "10s", "1s", n=fe.count(), ids=fe.distinct("x")))

    def counts(*events):
        keys, times = zip(*events, strict=True)
        found = store.update(
            pa.array(keys), np.array(times, np.int64) * SECOND, {"x": pa.array(range(len(keys)), pa.int64())}
        )
        return list(zip(found["n"].to_pylist(), found["ids"].to_pylist(), strict=True))

    assert counts(("a", 0), ("a", 1), ("b", 20), ("a", 5)) == [(0, 0), (1, 1), (0, 0), (2, 2)]
    # Late by 20 seconds at the end, so "a" was new to it; "b" has been idle for as long as nobody can tell.
    assert counts(("c", 40), ("a", 6), ("a", 6), ("b", 25)) == [(0, 0), (0, 0), (1, 1), (0, 0)]
    assert store.alive(np.arange(5)).tolist() == [True, True, True, False, False]


def test_a_time_far_ahead_of_its_record_expires_no_other_key(window):
    store = WindowStore(window)
    times = np.array([0, 10**6, 1]) * SECOND
    numbers = pa.array([1, 1, 1])
    made = store.update(pa.array(["a", "broken", "a"]), times, {"x": numbers, "y": numbers}, np.arange(3) * SECOND)
    assert made["n"].to_pylist() == [0, 0, 1]
