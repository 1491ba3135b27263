import numpy as np
import pyarrow as pa
import pytest
from river import linear_model as river_models
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tidemill.processors.online_inference import Target
from tidemill.processors.training import evaluate, fit
from tidemill.processors.training.fit import base_rates, class_metrics
from tidemill.schemas.errors import ModelError

LATE = Target((False, True))


def rows(xs, labels):
    return pa.table({"x": pa.array(xs, pa.float64()), "label": pa.array(labels)})


def test_a_fitted_model_beside_the_base_rate():
    train = rows(np.linspace(-1, 1, 100), [x > 0 for x in np.linspace(-1, 1, 100)])
    test = rows([-0.9, -0.5, 0.5, 0.9], [False, False, True, True])
    estimator = LogisticRegression()
    made = fit(estimator, ["x"], LATE, train, test)
    assert (made.training_rows, made.evaluation_rows) == (100, 4)
    assert made.metrics["accuracy"] == made.metrics["auc"] == 1.0
    assert made.metrics["base_accuracy"] == 0.5
    assert made.metrics["base_log_loss"] == pytest.approx(np.log(2))
    assert made.metrics["log_loss"] < 0.5
    # The declared estimator stays as it was.
    assert not hasattr(estimator, "classes_")


def test_a_river_model_learns_row_by_row():
    xs = np.linspace(-1, 1, 200)
    estimator = river_models.LogisticRegression()
    made = fit(estimator, ["x"], LATE, rows(xs, [x > 0 for x in xs]), rows([-0.9, 0.9], [False, True]))
    assert made.metrics["accuracy"] == 1.0
    assert made.metrics["log_loss"] < made.metrics["base_log_loss"]
    assert not estimator.weights


def test_a_regression():
    made = fit(LinearRegression(), ["x"], Target(), rows([0, 1, 2, 3], [1.0, 3.0, 5.0, 11.0]), rows([1], [3.0]))
    assert set(made.metrics) == {"mae", "base_mae", "rmse", "base_rmse"}
    assert made.metrics["base_mae"] == 1.0
    assert made.metrics["base_rmse"] == 2.0


def test_text_and_nulls_as_in_serving():
    train = pa.table({"carrier": ["AA", "UA", None, "AA"], "label": ["low", "high", "high", "low"]})
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["carrier"])), LogisticRegression()
    )
    made = fit(model, ["carrier"], Target(("low", "high")), train, train)
    assert made.metrics["accuracy"] == 1.0


def test_nothing_to_evaluate_on():
    made = fit(LogisticRegression(), ["x"], LATE, rows([0, 1], [False, True]), rows([], pa.array([], pa.bool_())))
    assert made.metrics == {}
    assert made.evaluation_rows == 0


@pytest.mark.parametrize("kind", [pa.bool_(), pa.string()])
def test_too_little_to_learn_from(kind):
    with pytest.raises(ModelError, match="expected labelled events to train on, found 0"):
        fit(LogisticRegression(), ["x"], LATE, rows([], pa.array([], kind)), rows([], pa.array([], kind)))


def test_one_label_alone_teaches_nothing():
    with pytest.raises(ModelError, match=r"all 3 events to train on have the label .*True"):
        fit(LogisticRegression(), ["x"], LATE, rows([0, 1, 2], [True] * 3), rows([0], [True]))


def test_labels_that_are_not_declared_are_refused_wherever_they_stand():
    target = Target(("a", "b"))
    good = rows([0.0, 1.0, 2.0], ["a", "b", "a"])
    with pytest.raises(ModelError, match="'c'"):
        fit(LogisticRegression(), ["x"], target, rows([0.0, 1.0, 2.0], ["a", "b", "c"]), good)
    with pytest.raises(ModelError, match="'c'"):
        fit(LogisticRegression(), ["x"], target, good, rows([0.0], ["c"]))


def test_a_model_that_fails_on_the_evaluation_is_no_model():
    train = rows([0.0, 1.0], [False, True])
    with pytest.raises(ModelError, match="the fitted model fails on 1 of 2 events: the model raised ValueError"):
        fit(LogisticRegression(), ["x"], LATE, train, rows([None, 1.0], [True, False]))


def test_probabilities_of_zero_do_not_make_the_loss_infinite():
    train = rows([0.0, 1.0], [False, True])
    model = DummyClassifier(strategy="constant", constant=False).fit([[0.0], [1.0]], [False, True])
    metrics = evaluate(model, ["x"], LATE, train, rows([0.0], [True]))
    assert np.isfinite(metrics["log_loss"])
    assert metrics["log_loss"] > 30
    assert "auc" not in metrics


def test_figures_of_three_classes_against_counting_by_hand():
    target = Target(("a", "b", "c"))
    scores = np.array([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]])
    rates = base_rates(target, np.array(["a", "a", "b", "b"]))
    assert rates.tolist() == [0.5, 0.5, 0.0]
    metrics = class_metrics(target, np.array(["a", "a"]), scores, rates)
    assert metrics == pytest.approx(
        {
            "log_loss": -(np.log(0.5) + np.log(0.25)) / 2,
            "base_log_loss": -np.log(0.5),
            "accuracy": 0.5,
            "base_accuracy": 1.0,
        }
    )
