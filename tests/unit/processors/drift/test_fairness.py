import numpy as np
import pytest

from tidemill.processors.drift.fairness import compare_groups, confusion_of


def test_by_hand():
    # Of 100 women 10 are answered with yes, of 100 men 60.
    figures = compare_groups({"sex=f": np.array([[48, 2], [42, 8]]), "sex=m": np.array([[30, 20], [10, 40]])})
    assert figures.demographic_parity == pytest.approx(0.5)
    assert figures.equalised_odds == pytest.approx(0.8 - 0.16)
    assert figures.rates["sex=f"] == pytest.approx((0.1, 0.16, 0.04))
    assert figures.demographic_parity_p < 1e-10
    assert (figures.rows, figures.too_few) == (200, 0)


def test_equal_groups():
    same = np.array([[30, 10], [10, 30]])
    figures = compare_groups({"a": same, "b": same, "c": same * 2})
    assert (figures.demographic_parity, figures.equalised_odds) == (0, 0)
    assert figures.demographic_parity_p == figures.equalised_odds_p == 1


def test_too_few():
    figures = compare_groups({"a": np.array([[30, 10], [10, 30]]), "b": np.array([[1, 0], [0, 1]])})
    assert (figures.demographic_parity, figures.too_few, list(figures.rates)) == (0, 1, ["a"])
    nothing = compare_groups({})
    assert (nothing.rows, nothing.rates, nothing.equalised_odds) == (0, {}, 0)


def test_of_several_classes_the_one_that_differs_most():
    first, second = np.diag([50, 30, 20]), np.diag([50, 10, 40])
    figures = compare_groups({"a": first, "b": second}, least=10)
    assert figures.demographic_parity == pytest.approx(0.2)
    assert figures.equalised_odds == 0


def test_confusion_leaves_out_what_is_not_known():
    assert confusion_of(np.array([0, 1, -1, 1]), np.array([1, 1, 0, -1]), 2).tolist() == [[0, 1], [0, 1]]
