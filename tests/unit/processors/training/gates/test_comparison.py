import numpy as np
import pytest

from tidemill.processors.online_inference import Target
from tidemill.processors.training.gates import Examination, Gates
from tidemill.processors.training.gates.comparison import baseline_gate, champion_gate, slices_gate


def test_better_by_more_than_noise(world):
    result = champion_gate(world.examination())
    assert result.passed
    assert result.figures["gain"] == pytest.approx(
        result.figures["champion_log_loss"] - result.figures["candidate_log_loss"]
    )
    assert 0 < result.figures["gain_low"] < result.figures["gain"] < result.figures["gain_high"]
    assert "better by more than noise (at 95.0% confidence the gain is at least" in result.message
    assert baseline_gate(world.examination()).passed


def test_the_same_model_again_is_not_better(world, sigmoid):
    result = champion_gate(world.examination(champion=sigmoid(world.truth)))
    assert not result.passed
    assert result.message.endswith("on 2,000 rows: not better.")


def test_a_little_better_is_noise(make_world, sigmoid):
    world = make_world(rows=120)
    result = champion_gate(world.examination(champion=sigmoid(world.truth + 0.2 * world.noise)))
    assert not result.passed
    assert result.figures["p_value"] > 0.05


def test_a_margin(world):
    gain = champion_gate(world.examination()).figures["gain"]
    assert champion_gate(world.examination(gates=Gates(margin=gain / 2, resamples=500))).passed
    result = champion_gate(world.examination(gates=Gates(margin=gain * 0.99, resamples=500)))
    assert not result.passed
    assert "not better by the margin of" in result.message


def test_accuracy_is_decided_by_mcnemars_test_too(world, sigmoid):
    candidate = world.examination(gates=Gates(metric="accuracy", resamples=500), champion=sigmoid(-world.truth))
    result = champion_gate(candidate)
    assert result.passed
    right = (candidate.candidate.argmax(axis=1) == 1) == world.labels
    assert result.figures["only_candidate_right"] == right.sum()
    assert result.figures["only_champion_right"] == (~right).sum()
    assert result.figures["mcnemar_p"] <= result.figures["p_value"] <= 0.05


def test_only_rows_that_both_have_answered_count(world, sigmoid):
    champion = sigmoid(0.3 * world.truth)
    champion[:1_950] = np.nan
    result = champion_gate(world.examination(champion=champion))
    assert not result.passed
    assert result.figures == {"rows": 50}
    assert "have both answered only 50 rows; at least 100 are needed" in result.message


def test_an_auc_of_one_class_shows_nothing(world):
    given = world.examination(gates=Gates(metric="auc", resamples=100), labels=np.ones(2_000, bool))
    result = champion_gate(given)
    assert not result.passed
    assert "not defined" in result.message


def test_numbers(world):
    truth = world.truth
    given = Examination(
        Target(),
        truth + world.noise,
        candidate=truth.reshape(-1, 1),
        champion=(0.8 * truth).reshape(-1, 1),
        baseline=np.zeros((2_000, 1)),
        gates=Gates(resamples=500),
    )
    assert champion_gate(given).passed
    assert {"candidate_mae", "champion_mae"} <= set(champion_gate(given).figures)
    assert baseline_gate(given).passed


# Slices

SLICED = Gates(slices={"origin": 0.02}, resamples=500)


def worse_in(world, sigmoid, rows):
    return np.where(rows[:, None], sigmoid(-world.truth), sigmoid(world.truth))


def test_a_slice_that_is_worse_is_named(world, sigmoid):
    candidate = worse_in(world, sigmoid, world.origin == "JFK")
    result = slices_gate(world.examination(gates=SLICED, candidate=candidate))
    assert not result.passed
    assert "log_loss is worse than the champion's in origin=JFK by" in result.message
    assert "origin=EWR" not in result.message
    assert result.figures["origin=JFK.loss"] > 0.02
    assert result.figures["level"] == pytest.approx(0.05 / 3)


def test_a_small_slice_that_is_ruined_is_seen(world, sigmoid):
    world.origin[:40] = "LIT"
    candidate = worse_in(world, sigmoid, world.origin == "LIT")
    result = slices_gate(world.examination(gates=SLICED, candidate=candidate))
    assert not result.passed
    assert "origin=LIT by" in result.message


def test_slices_that_are_better_or_too_small_to_tell_are_let_through(world):
    world.origin = world.origin.astype(object)
    world.origin[:20], world.origin[20:30] = "LIT", None
    result = slices_gate(world.examination(gates=SLICED))
    assert result.passed
    assert (result.figures["slices"], result.figures["untested"]) == (3, 1)
    assert "1 with fewer than 30 rows" in result.message


def test_worse_within_tolerance(world, sigmoid):
    slightly = np.where((world.origin == "JFK")[:, None], sigmoid(0.25 * world.truth), sigmoid(world.truth))
    assert slices_gate(world.examination(gates=Gates(slices={"origin": 0.05}), candidate=slightly)).passed
    assert not slices_gate(world.examination(gates=Gates(slices={"origin": 0.001}), candidate=slightly)).passed


def test_the_first_models_slices_are_compared_with_the_baseline(world, sigmoid):
    candidate = worse_in(world, sigmoid, world.origin == "EWR")
    result = slices_gate(world.examination(gates=SLICED, candidate=candidate, champion=None))
    assert not result.passed
    assert "worse than the baseline's in origin=EWR" in result.message


def test_private_slices_are_numbered(world, sigmoid):
    candidate = worse_in(world, sigmoid, world.origin == "JFK")
    result = slices_gate(world.examination(gates=SLICED, candidate=candidate, private={"origin"}))
    assert not result.passed
    assert "origin=#" in result.message
    assert "JFK" not in result.message + " ".join(result.figures)
