"""Groups over time: the figures of each declared field, its limit as a line, and nothing where none is declared."""

from dataclasses import replace

import pytest

import tidemill as tm
from tidemill.processors.drift.fairness import compare_groups
from tidemill.report import build, page
from tidemill.report.material import Windows
from tidemill.report.source import fairness_limits

LIMITS = {"sex": {"equalised_odds": 0.05}, "origin": {"demographic_parity": 0.1}}


@pytest.fixture
def grouped(material, make_day):
    """Ten days of all events and of two groups, which scores tell the same of, until one is answered otherwise."""
    windows = Windows(sensitive=LIMITS)
    for number in range(10):
        windows.add(make_day(number, labelled=0.2 if number == 9 else 1.0))
        windows.add(make_day(number, n=800, slice_="sex=f"))
        windows.add(make_day(number + (100 if number > 5 else 0), n=900, slice_="sex=m", version="v2"))
        windows.add(make_day(number, n=9, slice_="size=small"))
    return replace(material, windows=windows, limits=LIMITS)


def test_figures_are_those_of_the_groups_by_stretch(grouped):
    made = build(grouped)
    sex, origin = made.fairness
    assert (sex.name, origin.name) == ("sex", "origin")
    parity, odds = sex.figures
    assert (parity.name, parity.reference) == ("demographic_parity", None)
    assert (odds.name, odds.reference) == ("equalised_odds", 0.05)
    span = grouped.windows.spans[2]
    groups = {g: c for (g, at), c in grouped.windows.confusions.items() if at == span}
    assert set(groups) == {"sex=f", "sex=m"}
    assert odds.points[2].measured == compare_groups(groups).equalised_odds
    assert odds.points[2].rows == 1_700
    assert [point.provisional for point in odds.points] == [False] * 9 + [True]
    assert {point.measured for metric in origin.figures for point in metric.points} == {None}


def test_the_page_draws_them_with_their_limit(grouped):
    html = page(build(grouped))
    assert 'href="#fairness"' in html
    assert ">limit</text>" in html
    assert "Equalised odds difference" in html
    assert "No stretch has two groups" in html


def test_nothing_is_said_where_no_field_is_declared_or_of_one_slice(material, grouped):
    assert build(material).fairness == ()
    assert "fairness" not in page(build(material)).lower()
    of_slice = Windows("sex=f", sensitive=LIMITS)
    of_slice.merged = grouped.windows.merged
    assert build(replace(grouped, windows=of_slice)).fairness == ()


def test_limits_are_those_of_gates_and_drift_and_the_lower_one_counts(declare):
    made = declare(
        gates=tm.Gates(sensitive={"sex": tm.Fairness(demographic_parity=0.2, equalised_odds=0.1)}),
        drift=[tm.group_fairness("sex"), tm.group_fairness("age", "demographic_parity", threshold=0.3)],
    )
    assert fairness_limits(made) == {
        "sex": {"demographic_parity": 0.2, "equalised_odds": 0.1},
        "age": {"demographic_parity": 0.3},
    }
