from datetime import timedelta

import polars as pl
import pytest

import tidemill as tm
from tidemill.processors.sanity_check import Check
from tidemill.schemas.errors import DeclarationError


@pytest.mark.parametrize(
    ("check", "reason", "good", "bad"),
    [
        (tm.between("height", 1, 6), "out_of_range", {"height": 6.0}, {"height": 6.5}),
        (tm.between("height", 1, 6), "out_of_range", {"height": 1.0}, {"height": 0.5}),
        (tm.between("height", 1, None), "out_of_range", {"height": 1e300}, {"height": 0.9}),
        (tm.between("height", None, 6), "out_of_range", {"height": -1e300}, {"height": 6.1}),
        (tm.between("count", 3, 3), "out_of_range", {"count": 3}, {"count": 4}),
        (tm.one_of("station", ["EWR", "JFK"]), "not_in_set", {"station": "JFK"}, {"station": "jfk"}),
        (tm.one_of("count", {1, 2}), "not_in_set", {"count": 2}, {"count": 3}),
        (tm.matches("station", "^N[0-9]+$"), "pattern_mismatch", {"station": "N12"}, {"station": "AN12"}),
        (tm.matches("station", "[0-9]"), "pattern_mismatch", {"station": "A1B"}, {"station": "AB"}),
        (tm.present("station"), "missing_value", {"station": ""}, {"station": None}),
        (tm.check("due_later", pl.col("due") > pl.col("at")), "check_failed", {"due": 99}, {"due": -1}),
        (tm.not_older_than("10s"), "too_old", {"at": 0, "sent": 10}, {"at": 0, "sent": 10.001}),
        (tm.not_in_future("10s"), "in_future", {"at": 10, "sent": 0}, {"at": 10.001, "sent": 0}),
    ],
    ids=lambda value: value.name if isinstance(value, Check) else "",
)
def test_each_kind_of_check(sanity, batch, reasons, check, reason, good, bad):
    assert reasons(sanity(check).process(batch(good, bad, good))) == [(1, reason)]


@pytest.mark.parametrize(
    "check",
    [
        tm.between("height", 1, 6),
        tm.one_of("station", ["EWR"]),
        tm.matches("station", "^N"),
        tm.check("due_later", pl.col("due") > pl.col("at")),
    ],
    ids=lambda check: check.name,
)
def test_null_passes(sanity, batch, check):
    assert sanity(check).process(batch({})).rejected == ()


@pytest.mark.parametrize(
    ("check", "event", "message"),
    [
        (
            tm.between("height", 1, 6),
            {"height": 7.5},
            "expected height between 1 and 6, got height=7.5 (check between(height))",
        ),
        (tm.between("count", None, 6), {"count": 7}, "expected count at most 6, got count=7 (check between(count))"),
        (tm.between("count", 6, None), {"count": 5}, "expected count at least 6, got count=5 (check between(count))"),
        (
            tm.one_of("station", ["EWR", "JFK"]),
            {"station": "X"},
            "expected station one of 'EWR', 'JFK', got station='X' (check one_of(station))",
        ),
        (
            tm.one_of("count", range(12)),
            {"count": -1},
            "expected count one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …, got count=-1 (check one_of(count))",
        ),
        (
            tm.matches("station", "^N"),
            {"station": "M"},
            "expected station to match '^N', got station='M' (check matches(station))",
        ),
        (
            tm.present("station"),
            {},
            "expected a value in station, got station=None (check present(station))",
        ),
        (
            tm.check("few_tides", pl.col("count") < pl.col("height")),
            {"count": 3, "height": 2.0},
            "expected few tides, got count=3, height=2.0 (check few_tides)",
        ),
        (
            tm.check("few", pl.col("count") < 3, expected="fewer than three"),
            {"count": 3},
            "expected fewer than three, got count=3 (check few)",
        ),
        (
            tm.matches("station", "^N"),
            {"station": "x" * 200},
            f"expected station to match '^N', got station='{'x' * 76}… (check matches(station))",
        ),
    ],
)
def test_messages_name_what_was_expected_and_what_came(sanity, batch, check, event, message):
    assert [r.message for r in sanity(check).process(batch(event)).rejected] == [message]


def test_the_message_of_a_time_check_has_the_records_own_time(sanity, batch):
    (rejection,) = sanity(tm.not_in_future("5m")).process(batch({"id": "a", "at": 301, "sent": 0})).rejected
    assert rejection.message == (
        "expected an event time at most 5m after it was sent, got id='a', "
        "at=1970-01-01T00:05:01+00:00 (check not_in_future) "
        "in a record sent at 1970-01-01T00:00:00.000Z"
    )


def test_durations_may_be_timedeltas(sanity, batch, reasons):
    stage = sanity(tm.not_older_than(timedelta(seconds=5)))
    assert reasons(stage.process(batch({"at": 0, "sent": 6}))) == [(0, "too_old")]


@pytest.mark.parametrize(
    ("declare", "words"),
    [
        (lambda: tm.between("x", None, None), "give a low limit, a high limit, or both"),
        (lambda: tm.between("x", 3, 2), "no value is from 3 to 2"),
        (lambda: tm.one_of("x", []), "expected a list of values"),
        (lambda: tm.one_of("x", "EWR"), "got 'EWR'"),
        (lambda: tm.one_of("x", ["a", 1]), "expected values of one type"),
        (lambda: tm.matches("x", "("), "is not a regular expression"),
        (lambda: tm.check("late arrivals", pl.col("x") > 1), "must be an identifier"),
        (lambda: tm.check("late", True), "check(): late must be a polars expression, got True"),
        (lambda: tm.check("late", pl.lit(value=True)), "reads no field"),
        (lambda: tm.check("late", pl.all() > 1), "name each with pl.col"),
        (lambda: tm.check("late", pl.col("x").map_batches(lambda s: s > 1)), "calls a Python function"),
        (lambda: tm.present("x", on_failure="drop"), "on_failure must be 'reject', 'warn' or 'flag', not 'drop'"),
        (lambda: tm.unique("soon"), "expected a duration"),
    ],
)
def test_declarations_that_cannot_be_are_refused(declare, words):
    with pytest.raises(DeclarationError) as error:
        declare()
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("check", "words"),
    [
        (tm.present("hieght"), "test.Reading has no field 'hieght'; did you mean 'height'?"),
        (tm.between("station", 1, 2), "check between(station) cannot be computed on test.Reading"),
        (tm.check("odd", pl.col("count") % 2), "check odd: expected true or false for each event, got Int32"),
        (tm.check("high", pl.col("height") > pl.col("height").mean()), "check 'high' mixes rows"),
        (tm.check("rising", pl.col("height") > pl.col("height").shift(1)), "check 'rising' mixes rows"),
    ],
)
def test_checks_that_do_not_fit_the_event_are_refused_at_start(sanity, check, words):
    with pytest.raises(DeclarationError) as error:
        sanity(check)
    assert words in str(error.value)


def test_unique_twice_is_refused(sanity):
    with pytest.raises(DeclarationError, match="declared twice"):
        sanity(tm.unique("1d"), tm.unique("2d"))


def test_a_description_changes_with_what_decides_and_only_with_it():
    def described(check):
        return check.describe()

    assert described(tm.between("x", 1, 2)) == described(tm.between("x", 1, 2))
    assert described(tm.between("x", 1, 2)) != described(tm.between("x", 1, 3))
    assert described(tm.between("x", 1, 2)) != described(tm.between("x", 1, 2, on_failure="warn"))
    assert described(tm.unique("1d")) != described(tm.unique("2d"))
    assert described(tm.unique("1d")) == described(tm.unique("24h"))
    # However a process orders its sets.
    letters = "abcdefghijklmnopqrstuvwxyz"
    assert described(tm.one_of("x", set(letters))) == described(tm.one_of("x", list(letters)))
