"""Batch models as arrays: the answers of scikit-learn, missing values, and no trust in what was altered."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from tidemill.processors.adaptation.estimators import ESTIMATORS, boosted_trees, fit, logistic
from tidemill.processors.adaptation.fitted import Fitted
from tidemill.schemas.errors import ModelError

TREES, _, LINEAR = ESTIMATORS


def made(classes: int, missing: bool) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(classes)
    rows = chance.normal(size=(400, 5))
    labels = np.digitize(rows[:, 0] + rows[:, 1] ** 2, [0.5, 1.5][: classes - 1])
    if missing:
        rows[chance.random(rows.shape) < 0.2] = np.nan
    return rows, labels


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("classes", [2, 3])
def test_trees_answer_as_scikit_learns(classes: int, missing: bool) -> None:
    rows, labels = made(classes, missing)
    with threadpool_limits(limits=1):
        expected = boosted_trees().fit(rows[:300], labels[:300]).predict_proba(rows)
    assert fit(TREES, rows[:300], labels[:300], classes)(rows) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_a_logistic_regression_answers_as_scikit_learns(classes: int) -> None:
    rows, labels = made(classes, missing=False)
    scaler = StandardScaler().fit(rows[:300])
    expected = logistic().fit(scaler.transform(rows[:300]), labels[:300]).predict_proba(scaler.transform(rows))
    assert fit(LINEAR, rows[:300], labels[:300], classes)(rows) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("estimator", [TREES, LINEAR])
def test_columns_that_are_missing_or_constant_spoil_nothing(estimator) -> None:
    rows, labels = made(2, missing=True)
    rows[:, 3], rows[:, 4] = np.nan, 7.0
    assert np.isfinite(fit(estimator, rows, labels, 2)(rows)).all()


@pytest.mark.parametrize("estimator", [TREES, LINEAR])
def test_a_rows_answer_depends_on_it_alone(estimator) -> None:
    rows, labels = made(3, missing=True)
    model = fit(estimator, rows, labels, 3)
    assert np.array_equal(np.concatenate([model(row[None]) for row in rows]), model(rows))


@pytest.mark.parametrize(
    ("estimator", "name", "place", "value"),
    [
        (TREES, "feature", 0, 99),
        (TREES, "left", 0, 10**6),
        (TREES, "left", 1, 0),
        (TREES, "right", 0, -5),
        (TREES, "roots", (0, 0), 10**6),
        (TREES, "classes", 0, 7),
        (LINEAR, "classes", 1, -1),
        (LINEAR, "mean", None, np.zeros(4)),
        (LINEAR, "weights", None, np.zeros((1, 5), np.float32)),
        (LINEAR, "more", None, np.zeros(1)),
    ],
)
def test_what_was_altered_is_refused(estimator, name, place, value) -> None:
    rows, labels = made(2, missing=False)
    arrays = {key: array.copy() for key, array in fit(estimator, rows, labels, 2).arrays.items()}
    if place is None:
        arrays[name] = value
    else:
        arrays[name][place] = value
    with pytest.raises(ModelError, match="was altered"):
        Fitted("trees" if estimator is TREES else "linear", 2, 5, arrays)


def test_another_kind_is_refused() -> None:
    with pytest.raises(ModelError, match="was altered"):
        Fitted("forest", 2, 5, {"classes": np.array([0])})
