import sys

import numpy as np
import pytest
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

from tidemill.processors.drift.fairness import compare_groups, confusion_of
from tidemill.processors.training.gates import Fairness, Gates
from tidemill.processors.training.gates.fairness import fairness_figures, fairness_gate
from tidemill.schemas.errors import ModelError

LIMITS = Gates(sensitive={"sex": Fairness(demographic_parity=0.1, equalised_odds=0.1)})


def test_figures_are_fairlearns(world):
    given = world.examination(gates=LIMITS)
    figures = fairness_figures(given)["sex"]
    decided = given.candidate.argmax(axis=1)
    labels = world.labels.astype(int)
    assert figures.demographic_parity == pytest.approx(
        demographic_parity_difference(labels, decided, sensitive_features=world.sex)
    )
    assert figures.equalised_odds == pytest.approx(
        equalized_odds_difference(labels, decided, sensitive_features=world.sex)
    )
    ours = compare_groups(
        {f"sex={name}": confusion_of(labels[world.sex == name], decided[world.sex == name], 2) for name in ("f", "m")}
    )
    assert figures.rates == ours.rates
    assert figures.demographic_parity == pytest.approx(ours.demographic_parity)
    assert figures.equalised_odds == pytest.approx(ours.equalised_odds)


def test_an_unfair_candidate_is_refused(world, sigmoid):
    assert fairness_gate(world.examination(gates=LIMITS)).passed
    unfair = sigmoid(world.truth + np.where(world.sex == "f", 1.0, -1.0))
    result = fairness_gate(world.examination(gates=LIMITS, candidate=unfair))
    assert not result.passed
    assert "demographic parity difference by sex 0." in result.message
    assert "equalised odds difference by sex 0." in result.message
    assert result.figures["sex.demographic_parity"] > 0.1


def test_a_fair_candidate_where_groups_differ_may_break_one_limit_only(world, sigmoid):
    # Groups have other base rates: right answers differ, errors do not.
    world.truth = world.truth + np.where(world.sex == "f", 1.0, -1.0)
    world.labels = world.truth > 0
    odds = Gates(sensitive={"sex": Fairness(equalised_odds=0.1)})
    assert fairness_gate(world.examination(gates=odds)).passed
    result = fairness_gate(world.examination(gates=LIMITS))
    assert not result.passed
    assert "Beyond the limit: demographic parity difference by sex" in result.message
    assert "equalised" not in result.message


def test_small_groups_are_left_out_and_said_to_be(world):
    world.sex[:10] = "x"
    result = fairness_gate(world.examination(gates=LIMITS))
    assert result.passed
    assert result.figures["groups_with_too_few_rows"] == 1
    assert "groups of fewer than 30 rows are not judged: 1" in result.message


def test_few_rows_that_differ_by_chance_are_let_through(make_world):
    passed = 0
    for seed in range(15):
        world = make_world(rows=100, seed=seed)
        passed += fairness_gate(world.examination(gates=LIMITS)).passed
    assert passed >= 14


def test_groups_without_the_class_do_not_count_as_never_found(world):
    # Nobody of this group is late: there is no share of late ones that were found.
    world.labels[world.sex == "f"] = False
    figures = fairness_figures(world.examination(gates=LIMITS))["sex"]
    assert np.isnan(figures.rates["sex=f"][1])
    falsely = figures.rates["sex=f"][2], figures.rates["sex=m"][2]
    assert figures.equalised_odds == pytest.approx(falsely[0] - falsely[1])


def test_without_fairlearn_an_error_says_what_to_install(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "fairlearn.metrics", None)
    with pytest.raises(ModelError, match=r"pip install 'tidemill\[training\]'"):
        fairness_gate(world.examination(gates=LIMITS))
