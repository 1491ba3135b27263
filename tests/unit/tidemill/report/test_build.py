from dataclasses import replace

import numpy as np
import pytest

from tidemill.processors.drift import CategorySketch, NumberSketch
from tidemill.report import Material, RejectionCounts, build
from tidemill.report import distribution as shapes
from tidemill.report.build import MOST_STRETCHES, REJECTION_BINS, rejections
from tidemill.report.material import MOST_BINS, Windows
from tidemill.schemas.errors import DeclarationError

DAY = 86_400_000


def column(report, name):
    return next(each for each in report.columns if each.name == name)


def test_what_has_drifted_comes_first_and_is_said(material):
    made = build(material)
    first, *rest = made.columns
    assert (first.name, first.alarm, first.verdict) == ("delay", True, "changed greatly")
    assert first.median_reference == pytest.approx(10, abs=0.3)
    assert first.median == pytest.approx(22, abs=0.6)
    assert not any(each.drifted for each in rest)
    assert {each.name for each in made.columns} == {"delay", "hour", "steady", "carrier", "probability_true", "label"}


def test_drift_over_time_begins_where_it_begins(material):
    made = build(material)
    rows = {row.name: row for row in made.history}
    assert made.history[0].name == "delay"
    assert rows["delay"].alarms == (False,) * 6 + (True,) * 4
    assert not any(rows["carrier"].alarms)
    assert all(effect < made.threshold for effect in rows["hour"].effects)


def test_now_is_as_much_as_a_window_usually_holds(make_day, windows, material, moment):
    begun = Windows()
    for number in range(5):
        begun.add(make_day(number))
    begun.add(make_day(5, n=40))
    made = build(replace(material, windows=begun))
    assert (made.now.start, made.now.end, made.now.rows) == (moment(4), moment(6), 2_040)
    whole = build(material)
    assert (whole.now.start, whole.now.rows, whole.covered.rows) == (moment(9), 2_000, 20_000)


def test_deltas_add_up_in_any_order(make_day, material):
    parts = [profile for number in range(3) for part in range(2) for profile in make_day(number, n=500 + part)]
    there, back = Windows(), Windows()
    there.add(parts)
    back.add(parts[::-1])
    assert build(replace(material, windows=there)) == build(replace(material, windows=back))


def test_figures_are_provisional_until_their_labels_have_come(material):
    made = build(material)
    assert made.maturity.provisional == (False,) * 8 + (True, True)
    assert made.maturity.usual == pytest.approx(0.98, abs=0.01)
    loss = next(metric for metric in made.metrics if metric.name == "log_loss")
    assert [point.provisional for point in loss.points] == list(made.maturity.provisional)
    assert loss.reference == pytest.approx(0.53, abs=0.03)
    assert all(abs(point.measured - loss.reference) < 0.1 for point in loss.points if not point.provisional)


def test_performance_is_estimated_without_labels(material):
    loss = build(material).metrics[0]
    assert all(point.estimated == pytest.approx(loss.reference, abs=0.04) for point in loss.points)


def test_calibration_is_that_of_the_model_that_answers_now(material):
    made = build(material).calibration
    assert made.model_version == "v2"
    assert made.rows == sum(each.rows for each in made.bins)
    assert 7_700 < made.rows < 8_000
    assert all(abs(each.score - each.share) < 0.1 for each in made.bins if each.rows > 300)


def test_models_in_the_order_in_which_they_answered(material, moment):
    first, second = build(material).models
    assert (first.version, first.since, first.rows) == ("v1", moment(0), 8_000)
    assert (second.version, second.since, second.has_reference) == ("v2", moment(4), True)


def test_each_model_is_held_against_its_own_reference(make_day, make_reference, material):
    windows = Windows()
    for number in range(6):
        windows.add(make_day(number, version="v1" if number < 3 else "v2", shift=12.0 if number >= 3 else 0.0))
    own = {"v1": make_reference(), "v2": make_reference(shift=12.0)}
    made = build(replace(material, windows=windows, references=own))
    assert made.reference_version == "v2"
    assert not any(any(row.alarms) for row in made.history)


def test_without_a_reference_there_is_no_verdict(material):
    made = build(replace(material, references={}))
    assert made.reference is None
    assert made.history == ()
    assert {each.verdict for each in made.columns} == {"no reference to compare with"}
    assert all(bar.reference is None for bar in column(made, "delay").bars)


def test_before_any_label(make_day, material):
    windows = Windows()
    windows.add(make_day(0, labelled=0.0))
    made = build(replace(material, windows=windows))
    assert (made.maturity.usual, made.maturity.shares, made.calibration) == (None, (None,), None)
    assert [point.measured for metric in made.metrics for point in metric.points] == [None] * len(made.metrics)


def test_an_incident_is_told_as_it_stands(material, moment):
    still, over = build(material).alerts
    assert (still.id, still.until, still.severity) == ("a" * 16, None, "critical")
    assert (over.id, over.opened_at, over.until) == ("b" * 16, moment(2), moment(4))


def test_a_slice_has_its_own_profiles_and_incidents(make_day, make_alert, material):
    windows = Windows("origin=JFK")
    windows.add([*make_day(6), *make_day(6, n=300, slice_="origin=JFK")])
    alerts = [make_alert("a" * 16), make_alert("c" * 16, slice="origin=JFK")]
    made = build(replace(material, windows=windows, alerts=alerts))
    assert made.covered.rows == 300
    assert [each.id for each in made.alerts] == ["c" * 16]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"slice": "origin=SFO"}, "no profiles of slice 'origin=SFO'; slices that have: none"),
        ({"since": 4_102_444_800_000}, "no profiled window begins in the time asked for"),
    ],
)
def test_what_is_not_there_is_said(make_day, asked, said):
    windows = Windows(**asked)
    windows.add(make_day(0))
    with pytest.raises(DeclarationError, match=said):
        build(Material("mill", windows))


def test_no_profiles_at_all():
    with pytest.raises(DeclarationError, match=r"mill\.profiles has no profile yet"):
        build(Material("mill", Windows()))


def test_only_windows_of_the_time_that_is_asked_for(make_day, material, moment):
    windows = Windows(since=moment(2), until=moment(4))
    for number in range(6):
        windows.add(make_day(number))
    covered = build(replace(material, windows=windows)).covered
    assert (covered.start, covered.end) == (moment(2), moment(4))


def test_many_windows_are_put_together(make_day, material):
    windows = Windows()
    for number in range(2 * MOST_STRETCHES + 1):
        windows.add(make_day(number, n=20)[:1])
    made = build(replace(material, windows=windows))
    assert made.windows == 2 * MOST_STRETCHES + 1
    assert len(made.stretches) <= MOST_STRETCHES
    assert sum(stretch.rows for stretch in made.stretches) == made.covered.rows
    assert {(a.end == b.start) for a, b in zip(made.stretches, made.stretches[1:], strict=False)} == {True}


def test_rejections_by_reason(material):
    made = build(material).rejections
    assert [(each.reason, each.count, sum(each.counts)) for each in made.reasons] == [
        ("out_of_range", 400, 400),
        ("duplicate_id", 100, 100),
    ]
    assert made.width == DAY
    assert made.bins == 21


def test_counting_rejections_needs_no_more_memory_for_more_time():
    times = [i * 7_919_000 for i in range(MOST_BINS * 3)]
    there, back = RejectionCounts(), RejectionCounts()
    for at in times:
        there.add("s", "r", at)
    for at in reversed(times):
        back.add("s", "r", at)
    assert (there.width, there.counts) == (back.width, back.counts)
    assert len(there.counts) <= MOST_BINS
    assert sum(there.counts.values()) == len(times)
    made = rejections(there)
    assert made.bins <= REJECTION_BINS
    assert made.total == len(times)


def test_bins_hold_what_is_in_them():
    values = np.random.default_rng(1).normal(50, 10, 20_000)
    bars = shapes.bars(None, NumberSketch.of(values))
    for bar in bars:
        exact = np.mean((values >= bar.low) & (values < bar.high))
        assert bar.now == pytest.approx(exact, abs=0.012)
    assert 0.97 < sum(bar.now for bar in bars) <= 1


@pytest.mark.parametrize("values", [[3.0], [0.0], [-5.0, -5.0], [0.0, 1e-9], [1e299, -1e299], [1e-300], [7.5, 7.6]])
def test_any_numbers_have_bins(values):
    bars = shapes.bars(NumberSketch.of(np.array(values)), NumberSketch.of(np.array(values)))
    assert 1 <= len(bars) <= shapes.MOST_WHOLE
    assert sum(bar.now for bar in bars) == pytest.approx(1)
    assert all(bar.reference == bar.now for bar in bars)


def test_a_few_whole_numbers_have_a_bin_each():
    bars = shapes.bars(None, NumberSketch.of(np.repeat(np.arange(5.0, 23.0), 10)))
    assert [(bar.low + 0.5, round(bar.now, 6)) for bar in bars] == [(hour, round(1 / 18, 6)) for hour in range(5, 23)]


def test_rare_categories_are_put_together():
    now = CategorySketch.of(np.array([f"c{i}" for i in range(300) for _ in range(300 - i)]))
    shares = shapes.shares(None, now)
    assert len(shares) == shapes.MOST_CATEGORIES
    assert shares[-1].name == shapes.OTHER
    assert sum(share.now for share in shares) == pytest.approx(1)
