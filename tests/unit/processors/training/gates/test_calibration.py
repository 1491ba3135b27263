import numpy as np
import pytest

from tidemill.processors.training.gates import Gates
from tidemill.processors.training.gates.calibration import calibration_gate


def test_scores_that_mean_what_they_say(world):
    result = calibration_gate(world.examination(gates=Gates(calibration=0.05)))
    assert result.passed
    assert result.figures["p_value"] > 0.05
    assert "within the limit of 0.05" in result.message


def test_scores_that_are_too_sure_are_refused(world, sigmoid):
    result = calibration_gate(world.examination(candidate=sigmoid(5 * world.truth)))
    assert not result.passed
    assert "beyond the limit of 0.1; perfect scores would have" in result.message


def test_few_rows_may_be_beyond_the_limit_by_chance(make_world):
    world = make_world(rows=60)
    result = calibration_gate(world.examination(gates=Gates(calibration=0.02)))
    assert result.passed
    assert result.figures["calibration_error"] > 0.02
    assert "chance alone may bring it above" in result.message


def test_several_classes(make_world):
    from tidemill.processors.online_inference import Target
    from tidemill.processors.training.gates import Examination

    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(3), 1_000)
    labels = np.array([rng.choice(3, p=row) for row in scores])
    sure = scores**6 / (scores**6).sum(axis=1, keepdims=True)
    for said, passed in ((scores, True), (sure, False)):
        given = Examination(Target((0, 1, 2)), labels, candidate=said, baseline=np.full((1_000, 3), 1 / 3))
        assert calibration_gate(given).passed is passed


def test_no_answers_mean_nothing(world):
    assert not calibration_gate(world.examination(candidate=np.full((2_000, 2), np.nan))).passed
    assert (
        pytest.approx(0) == calibration_gate(world.examination(candidate=np.full((2_000, 2), np.nan))).figures["rows"]
    )
