"""The worked examples of Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011)."""

import polars as pl
import pytest

from tidemill.processors.label_quality import krippendorff_alpha


def answers(*observers):
    cells = [
        (f"unit {unit}", f"observer {number}", value)
        for number, row in enumerate(observers)
        for unit, value in enumerate(row.split())
        if value != "."
    ]
    return pl.DataFrame(cells, schema=["event_id", "annotator", "label"], orient="row")


def test_two_observers_of_a_binary_variable():
    # Part A: 20 values, 14 zeros and 6 ones; of 10 units 4 do not match: 1 - 19 * 4 / (14 * 6).
    found = krippendorff_alpha(answers("0 1 0 0 0 0 0 0 1 0", "1 1 1 0 0 1 0 0 0 0"))
    assert found == pytest.approx(1 - 19 * 4 / (14 * 6))
    assert round(found, 3) == 0.095


def test_two_observers_of_a_nominal_variable():
    # Part B.
    found = krippendorff_alpha(answers("a a b b d c c c e d d a", "b a b b b c c c e d d d"))
    assert round(found, 3) == 0.692


def test_four_observers_with_values_missing():
    # Part C: 40 of the 41 values can be paired.
    found = krippendorff_alpha(
        answers(
            "1 2 3 3 2 1 4 1 2 . . .",
            "1 2 3 3 2 2 4 1 2 5 . 3",
            ". 3 3 3 2 3 4 2 2 5 1 .",
            "1 2 3 3 2 4 4 1 2 5 1 .",
        )
    )
    assert round(found, 3) == 0.743


def test_agreement_and_its_opposite():
    assert krippendorff_alpha(answers("a b a", "a b a")) == 1
    # Two units, each with both values: worse than chance, which mixes within units too.
    assert krippendorff_alpha(answers("a b", "b a")) == pytest.approx(1 - 3 * 4 / 8)


@pytest.mark.parametrize("observers", [("a b c",), ("a . c", ". b ."), ("a a", "a a"), ("a b", "a ."), ("",)])
def test_where_it_is_not_defined(observers):
    assert krippendorff_alpha(answers(*observers)) is None
