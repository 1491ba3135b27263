from itertools import pairwise

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tidemill as tm
from tidemill.processors.sanity_check import Check
from tidemill.processors.stage import Stage
from tidemill.schemas.batch import Batch, Origin
from tidemill.schemas.errors import DeclarationError


def test_the_first_failing_check_decides(sanity, batch, reasons):
    stage: Stage = sanity(tm.present("station"), tm.between("height", 0, 5), tm.matches("station", "^N"))
    done = stage.process(
        batch({"height": 9}, {"station": "N", "height": 9}, {"station": "M", "height": 9}, {"station": "M"}, {})
    )
    assert reasons(done) == [
        (0, "missing_value"),
        (1, "out_of_range"),
        (2, "out_of_range"),
        (3, "pattern_mismatch"),
        (4, "missing_value"),
    ]


def test_a_check_that_warns_only_counts(sanity, batch, ids):
    stage = sanity(tm.present("station", on_failure="warn"), tm.between("height", 0, 5))
    done = stage.process(batch({"height": 1}, {"height": 9}, {"station": "N"}))
    assert ids(done) == ["e0", "e2"]
    assert done.warnings == {"present(station)": 2}


def test_what_was_rejected_before_is_not_counted_as_a_warning(sanity, batch):
    stage = sanity(tm.between("height", 0, 5), tm.present("station", on_failure="warn"))
    assert stage.process(batch({"height": 1}, {"height": 9})).warnings == {"present(station)": 1}


@pytest.mark.parametrize("check", [tm.not_late("5s", on_failure="warn"), tm.unique("1m", on_failure="warn")])
def test_time_checks_may_warn_too(sanity, batch, ids, check):
    done = sanity(check).process(batch({"id": "a", "at": 10}, {"id": "a", "at": 0}, {"id": "b", "at": 10}))
    assert ids(done) == ["a", "a", "b"]
    assert done.warnings == {check.name: 1}


def test_a_check_that_flags_counts_and_marks(sanity, batch):
    stage = sanity(
        tm.between("height", 0, 5), tm.not_late("5s", on_failure="flag"), tm.present("station", on_failure="flag")
    )
    done = stage.process(batch({"at": 10}, {"at": 0, "station": "N"}, {"at": 0, "height": 9}, {"at": 6}))
    assert [flag.name for flag in stage.flags] == ["too_late", "missing_value_station"]
    assert done.accepted.table["too_late"].to_pylist() == [False, True, False]
    assert done.accepted.table["missing_value_station"].to_pylist() == [True, False, True]
    assert done.warnings == {"not_late": 1, "present(station)": 2}
    assert len(done.rejected) == 1


def test_a_flag_is_no_field_of_the_event(sanity):
    flag = tm.check("x", pl.col("height") > 0, on_failure="flag").flag
    assert flag == "failed_x"
    with pytest.raises(DeclarationError, match="a field 'count', which the event has itself"):
        sanity(Check("tally", "count", "a tally", pl.col("height") > 0, (), "flag"))


def test_an_event_for_which_a_check_raises_spoils_only_itself(sanity, batch, reasons, ids):
    stage = sanity(
        tm.between("height", 0, 5),
        tm.check("whole_tide", pl.col("tide").cast(pl.Int64) > 0),
        tm.check("counted", pl.col("tide").cast(pl.Int64) > 1, on_failure="warn"),
    )
    done = stage.process(batch({"tide": "1"}, {"tide": "x"}, {"tide": "3"}, {"tide": "y", "height": 9.0}, {}))
    assert ids(done) == ["e0", "e2", "e4"]
    assert reasons(done) == [(1, "check_failed"), (3, "out_of_range")]
    assert done.warnings == {"counted": 1}
    message = done.rejected[0].message
    assert message.startswith("expected whole tide, which could not be computed (conversion from `str` to `i64` failed")
    assert message.endswith("), got tide='x' (check whole_tide)")


def test_late_events(sanity, batch, reasons):
    stage = sanity(tm.not_late("10s"))
    done = stage.process(batch({"at": 100}, {"at": 90}, {"at": 89}, {"at": 101}, {"at": 90.5}))
    assert reasons(done) == [(2, "too_late"), (4, "too_late")]
    # The watermark is the partition's, and stays from batch to batch.
    assert reasons(stage.process(batch({"at": 0}, {"at": 90}, {"at": 91}, partitions=[0, 0, 0]))) == [
        (0, "too_late"),
        (1, "too_late"),
    ]
    assert reasons(stage.process(batch({"at": 0}, partitions=[1]))) == []


def test_garbage_does_not_move_the_watermark(sanity, batch, ids):
    stage = sanity(tm.between("height", 0, 5), tm.not_late("10s"))
    done = stage.process(batch({"at": 100}, {"at": 5000, "height": 9}, {"at": 2**60 // 1000}, {"at": 95}))
    assert ids(done) == ["e0", "e3"]
    assert stage.clock(0) == {"watermark": 100_000_000}


def test_a_check_that_only_warns_does_not_hold_back_the_watermark(sanity, batch, reasons):
    stage = sanity(tm.present("station", on_failure="warn"), tm.not_late("10s"))
    assert reasons(stage.process(batch({"at": 100}, {"at": 50}))) == [(1, "too_late")]


def test_the_watermark_goes_with_the_clock(sanity, batch, reasons):
    stage, successor = sanity(tm.not_late("10s")), sanity(tm.not_late("10s"))
    stage.process(batch({"at": 100}, partitions=[3]))
    successor.restore_clock(3, stage.clock(3))
    assert reasons(successor.process(batch({"at": 89}, partitions=[3]))) == [(0, "too_late")]
    successor.drop(3)
    assert reasons(successor.process(batch({"at": 89}, partitions=[3]))) == []


def test_before_the_first_good_event_nothing_is_late(sanity, batch, reasons):
    stage = sanity(tm.present("station"), tm.not_late("0s"))
    assert reasons(stage.process(batch({"at": 100}, {"at": -100, "station": "N"}))) == [(0, "missing_value")]
    assert stage.clock(1) == {"watermark": -(2**63)}
    stage.restore_clock(1, stage.clock(1))
    assert reasons(stage.process(batch({"at": -(10**9), "station": "N"}, partitions=[1]))) == []


def test_ids_are_unique_within_the_span_on_their_partition(sanity, batch, reasons):
    stage = sanity(tm.unique("10s"))
    done = stage.process(
        batch(
            {"id": "a", "sent": 0},
            {"id": "a", "sent": 10},
            {"id": "a", "sent": 10.001},
            {"id": "a", "sent": 10.002},
            {"id": "a", "sent": 0},
            partitions=[0, 0, 0, 0, 1],
        )
    )
    assert reasons(done) == [(1, "duplicate_id"), (3, "duplicate_id")]
    assert done.rejected[0].message.startswith("expected an id not seen in the last 10s, got id='a'")


def test_garbage_ids_are_not_remembered(sanity, batch, ids):
    stage = sanity(tm.present("station"), tm.not_late("5s"), tm.unique("1d"))
    done = stage.process(
        batch({"id": "a"}, {"id": "x", "at": 100, "station": "N"}, {"id": "b", "at": 0, "station": "N"})
    )
    assert ids(done) == ["x"]
    assert ids(stage.process(batch({"id": "a", "at": 100, "station": "N"}))) == ["a"]
    assert ids(stage.process(batch({"id": "b", "at": 100, "station": "N"}))) == ["b"]


def test_ids_may_be_numbers(contract_with, batch):
    contract = contract_with("long")
    stage = tm.processors.sanity_check.SanityCheck(contract, event_id="x", event_time="at", checks=[tm.unique("1d")])
    done = stage.process(batch({"x": 1}, {"x": 2}, {"x": 1}, contract=contract))
    assert [(r.row, r.reason) for r in done.rejected] == [(2, "duplicate_id")]


def test_a_records_timestamp_beyond_any_calendar_does_not_overflow(sanity, batch, reasons):
    stage = sanity(tm.unique("1d"), tm.not_in_future("1m"), tm.not_older_than("1d"))
    given = batch({"at": 0}, {"at": 0})
    extremes = np.array([2**63 - 1, -(2**63)])
    given = Batch(given.table, Origin(given.origin.partition, given.origin.offset, extremes, given.origin.row))
    assert reasons(stage.process(given)) == [(0, "too_old"), (1, "in_future")]


def test_rejections_name_the_row_of_the_batch_that_was_given(sanity, batch):
    done = sanity(tm.present("station")).process(batch({"station": "N"}, {}, partitions=[2, 5]))
    (rejection,) = done.rejected
    assert rejection.row == 1
    assert type(rejection.row) is int
    assert done.accepted.origin.partition.tolist() == [2]


def test_stores_are_named_by_what_they_hold(sanity):
    assert dict(sanity().stores(0)) == {}
    assert list(sanity(tm.unique("1s")).stores(0)) == ["seen-ids-1000000"]


def test_fields_that_do_not_exist_are_refused(reading):
    with pytest.raises(DeclarationError, match="did you mean 'station'"):
        tm.processors.sanity_check.SanityCheck(reading, event_id="id", event_time="at", checks=[tm.present("statoin")])


events = st.fixed_dictionaries(
    {
        "id": st.sampled_from("abcdef"),
        "at": st.integers(0, 60),
        "sent": st.integers(0, 60),
        "station": st.sampled_from(["N", None]),
        "tide": st.sampled_from(["1", "x", None]),
        "height": st.sampled_from([1.0, 9.0, float("nan"), None]),
    }
)


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.lists(st.tuples(st.integers(0, 1), events), max_size=30), st.sets(st.integers(1, 29)), st.booleans())
def test_decisions_do_not_depend_on_the_cut_or_on_restarts(sanity, batch, monkeypatch, rows, cuts, restart):
    # Trying the expression on made-up rows takes longer than all the rest, and has its own test.
    monkeypatch.setattr("tidemill.processors.sanity_check.stage.require_rowwise", lambda *_: None)

    def make():
        return sanity(
            tm.present("station", on_failure="warn"),
            tm.between("height", 0, 5),
            tm.check("whole_tide", pl.col("tide").cast(pl.Int64) > 0),
            tm.not_late("20s"),
            tm.unique("15s"),
        )

    whole = decisions(make, batch, rows, (), restart=False)
    assert decisions(make, batch, rows, cuts, restart=restart) == whole
    assert len(whole[0]) + len(whole[1]) == len(rows)


def decisions(make, batch, rows, cuts, *, restart):
    stage, blocks = make(), []
    accepted, rejected, warned = [], [], 0
    for start, stop in pairwise([0, *sorted(c for c in cuts if c < len(rows)), len(rows)]):
        part = sorted(enumerate(rows[start:stop], start), key=lambda row: row[1][0])
        if not part:
            continue
        done = stage.process(batch(*(e for _, (_, e) in part), partitions=[p for _, (p, _) in part]))
        places = [place for place, _ in part]
        accepted += [places[row] for row in done.accepted.origin.row]
        rejected += [(places[r.row], r.reason, r.message) for r in done.rejected]
        warned += sum(done.warnings.values())
        if restart:
            for partition in (0, 1):
                for store in stage.stores(partition).values():
                    slots = store.changed()
                    blocks.append((partition, store.rows(slots[store.alive(slots)])))
            clocks = {partition: stage.clock(partition) for partition in (0, 1)}
            stage = make()
            for partition, block in blocks:
                for store in stage.stores(partition).values():
                    store.apply(pa.record_batch(block.columns, schema=block.schema))
            for partition, clock in clocks.items():
                stage.restore_clock(partition, clock)
    return sorted(accepted), sorted(rejected), warned
