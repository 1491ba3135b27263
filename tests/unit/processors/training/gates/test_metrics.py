import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from tidemill.processors.drift import ClassQuality
from tidemill.processors.online_inference import Target
from tidemill.processors.training.gates.metrics import METRICS, answers, metric_named, metrics_for
from tidemill.schemas.errors import DeclarationError, ModelError

BY_NAME = {metric.name: metric for metric in METRICS}


def drawn(classes, rows=400, seed=3):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(classes), rows).round(2) + 1e-6
    scores /= scores.sum(axis=1, keepdims=True)
    actual = np.array([rng.choice(classes, p=row) for row in scores])
    return answers(Target(tuple(range(classes))), actual, scores)


@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_of_classes_are_those_of_scikit_learn(classes):
    given = drawn(classes)
    everyone = list(range(classes))
    assert BY_NAME["log_loss"].of(given) == pytest.approx(
        sklearn_metrics.log_loss(given.actual, given.scores, labels=everyone)
    )
    assert BY_NAME["accuracy"].of(given) == pytest.approx(sklearn_metrics.accuracy_score(given.actual, given.decided))
    assert BY_NAME["balanced_accuracy"].of(given) == pytest.approx(
        sklearn_metrics.balanced_accuracy_score(given.actual, given.decided)
    )
    quality = ClassQuality.of(given.scores, given.actual).metrics()
    assert BY_NAME["brier"].of(given) == pytest.approx(quality["brier"])
    assert BY_NAME["calibration_error"].of(given) == pytest.approx(quality["calibration_error"])


def test_metrics_of_two_classes_are_those_of_scikit_learn():
    given = drawn(2)
    assert BY_NAME["auc"].of(given) == pytest.approx(sklearn_metrics.roc_auc_score(given.actual, given.scores[:, 1]))
    assert BY_NAME["precision"].of(given) == pytest.approx(sklearn_metrics.precision_score(given.actual, given.decided))
    assert BY_NAME["recall"].of(given) == pytest.approx(sklearn_metrics.recall_score(given.actual, given.decided))


def test_metrics_of_numbers_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    given = answers(Target(), rng.normal(size=50), rng.normal(size=(50, 1)))
    said = given.scores[:, 0]
    assert BY_NAME["mae"].of(given) == pytest.approx(sklearn_metrics.mean_absolute_error(given.actual, said))
    assert BY_NAME["rmse"].of(given) == pytest.approx(sklearn_metrics.root_mean_squared_error(given.actual, said))


def test_what_is_not_defined_is_nan():
    one = answers(Target((False, True)), np.array([False, False]), np.array([[0.9, 0.1], [0.8, 0.2]]))
    assert np.isnan(BY_NAME["auc"].of(one))
    assert np.isnan(BY_NAME["recall"].of(one))
    assert np.isnan(BY_NAME["precision"].of(one))
    assert BY_NAME["balanced_accuracy"].of(one) == 1.0


def test_each_target_has_its_metrics_and_its_default():
    assert [metric.name for metric in metrics_for(Target())] == ["mae", "rmse"]
    assert "auc" not in [metric.name for metric in metrics_for(Target(("a", "b", "c")))]
    assert metric_named(None, Target()).name == "mae"
    assert metric_named(None, Target((0, 1))).name == "log_loss"
    assert metric_named("auc", Target((0, 1))).name == "auc"


def test_a_metric_that_is_not_there():
    with pytest.raises(DeclarationError, match=r"'log_los'.*did you mean 'log_loss'"):
        metric_named("log_los", Target((0, 1)))
    with pytest.raises(DeclarationError, match="'auc' of such a target; known: mae, rmse"):
        metric_named("auc", Target())


def test_labels_and_shapes_must_fit():
    with pytest.raises(ModelError, match=r"does not declare: \['c'\]"):
        answers(Target(("a", "b")), np.array(["a", "c"]), np.ones((2, 2)))
    with pytest.raises(ModelError, match=r"expected scores of shape \(2, 2\), got \(2, 1\)"):
        answers(Target(("a", "b")), np.array(["a", "b"]), np.ones((2, 1)))
