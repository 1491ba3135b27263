import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from river import linear_model as river_models
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from tidemill.processors.online_inference.scorer import BLOCK, Scorer
from tidemill.processors.online_inference.target import Target
from tidemill.schemas.errors import ModelError

LATE = Target((False, True))
NAN = float("nan")


def frame(rows, seed=0):
    random = np.random.default_rng(seed)
    made = pd.DataFrame({f"x{i}": random.normal(size=rows) for i in range(7)})
    made["gap"] = np.where(random.random(rows) < 0.2, NAN, random.normal(size=rows))
    made["carrier"] = pd.Series(random.choice(["AA", "UA", "B6", None], rows).tolist(), dtype=object)
    return made


NUMBERS, WORDS = [*(f"x{i}" for i in range(7)), "gap"], ["carrier"]


@pytest.fixture(scope="module")
def fitted():
    """Pipelines over text and numbers."""
    data = frame(400)
    labels = (data["x0"] + np.random.default_rng(1).normal(size=400) > 0).to_numpy()
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    linear = make_column_transformer((numbers, NUMBERS), (OneHotEncoder(handle_unknown="ignore"), WORDS))
    codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    trees = make_column_transformer((codes, WORDS), remainder="passthrough")
    models = {
        "logistic": make_pipeline(linear, LogisticRegression()),
        "trees": make_pipeline(trees, HistGradientBoostingClassifier(max_iter=10)),
        "network": make_pipeline(linear, MLPClassifier((20,), max_iter=5)),
    }
    with warnings.catch_warnings(category=ConvergenceWarning, action="ignore"):
        return {name: model.fit(data, labels) for name, model in models.items()}


class Model:
    """Answers from a function over a frame."""

    def __init__(self, answer):
        self.answer = answer
        self.blocks = []

    def predict_proba(self, rows):
        self.blocks.append(len(rows))
        return self.answer(rows)


def halves(rows):
    return np.full((len(rows), 2), 0.5)


@pytest.mark.parametrize("name", ["logistic", "trees", "network"])
@settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
@given(cuts=st.sets(st.integers(1, 1499), max_size=3), seed=st.integers(0, 3))
def test_scores_are_the_same_bytes_whatever_the_batch(fitted, name, cuts, seed):
    rows, scorer = frame(1500, seed), Scorer(fitted[name], LATE)
    whole, failures = scorer.score(rows)
    assert failures == []
    parts = [scorer.score(rows.iloc[a:b])[0] for a, b in pairwise([0, *sorted(cuts), 1500])]
    assert b"".join(part.tobytes() for part in parts) == whole.tobytes()
    assert scorer.score(rows.iloc[[1234]])[0].tobytes() == whole[1234].tobytes()


@pytest.mark.parametrize("name", ["logistic", "trees", "network"])
def test_text_that_is_null_is_the_category_that_it_was_in_training(fitted, name):
    rows = frame(300, seed=1)
    scores, _ = Scorer(fitted[name], LATE).score(rows)
    alone = np.vstack([fitted[name].predict_proba(rows.iloc[[row]]) for row in range(300)])
    assert rows["carrier"].isna().sum() > 30
    np.testing.assert_allclose(scores, alone, rtol=1e-9)


def test_a_neighbour_that_no_encoder_knows_changes_not_a_bit():
    random = np.random.default_rng(0)
    data = pd.DataFrame(random.normal(size=(2000, 31))).add_prefix("x")
    data["carrier"] = pd.Series(random.choice(["AA", "UA"], 2000).tolist(), dtype=object)
    encode = make_column_transformer((OrdinalEncoder(), ["carrier"]), (StandardScaler(), [f"x{i}" for i in range(31)]))
    model = make_pipeline(encode, LogisticRegression()).fit(data, random.random(2000) < 0.5)
    scorer = Scorer(model, LATE)
    alone, _ = scorer.score(data)
    together, failures = scorer.score(pd.concat([data, data[:1].assign(carrier="ZZ")]))
    assert [(f.row, f.reason) for f in failures] == [(2000, "model_raised")]
    assert "ZZ" in failures[0].message
    assert together[:2000].tobytes() == alone.tobytes()


def test_a_rows_place_in_the_block_and_the_number_of_cores_change_nothing():
    # With three BLAS threads a block of 1,024 rows is cut into unequal shares, whose last rows take another path.
    random = np.random.default_rng(0)
    weights = random.normal(size=(100, 8))
    row = random.normal(size=(1, 100))
    model = Model(lambda rows: np.exp(-((np.ascontiguousarray(rows.to_numpy()) @ weights) ** 2)))
    with threadpool_limits(3, user_api="blas"):
        scores, _ = Scorer(model, Target(tuple(range(8)))).score(pd.DataFrame(np.tile(row, (BLOCK, 1))))
    assert len({score.tobytes() for score in scores}) == 1


def test_where_a_row_stood_in_the_batch_is_nothing_for_the_model_to_see():
    model = Model(lambda rows: np.stack([(rows.index == np.arange(len(rows))) / 2, rows["x"]], axis=1))
    scores, _ = Scorer(model, LATE).score(pd.DataFrame({"x": [0.5] * 3}, index=[7, 7, 9]))
    assert scores.tolist() == [[0.5, 0.5]] * 3


def test_a_model_only_ever_sees_whole_blocks():
    model = Model(halves)
    scores, failures = Scorer(model, LATE).score(pd.DataFrame({"x": np.zeros(BLOCK + 1)}))
    assert model.blocks == [BLOCK, BLOCK]
    assert scores.shape == (BLOCK + 1, 2)
    assert failures == []


def test_nothing_to_score():
    scores, failures = Scorer(Model(halves), LATE).score(pd.DataFrame({"x": []}))
    assert scores.shape == (0, 2)
    assert failures == []


def test_rows_that_make_a_model_raise_fail_alone():
    def answer(rows):
        if (rows["x"] < 0).any():
            raise KeyError("below")
        return halves(rows)

    values = np.ones(3000)
    bad = [0, 17, 18, 1500, 2999]
    values[bad] = -1
    scores, failures = Scorer(Model(answer), LATE).score(pd.DataFrame({"x": values}))
    assert [(f.row, f.reason) for f in failures] == [(row, "model_raised") for row in bad]
    assert failures[0].message == "the model raised KeyError: 'below'"
    assert np.flatnonzero(np.isnan(scores[:, 0])).tolist() == bad


def test_a_long_error_is_cut():
    def answer(rows):
        raise ValueError("x" * 10_000)

    _, (failure,) = Scorer(Model(answer), LATE).score(pd.DataFrame({"x": [1.0]}))
    assert len(failure.message) < 400


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_rows_without_a_finite_answer_fail_alone(bad):
    def answer(rows):
        scores = halves(rows)
        scores[rows["x"] < 0, 1] = bad
        return scores

    _, failures = Scorer(Model(answer), LATE).score(pd.DataFrame({"x": [1.0, -1.0, 1.0]}))
    assert [(f.row, f.reason) for f in failures] == [(1, "model_not_finite")]
    assert failures[0].message == f"expected finite scores from the model, got 0.5, {bad:g}"


def test_rows_with_nan_that_scikit_learn_refuses_fail_alone():
    model = LogisticRegression().fit([[0.0], [1.0]], [False, True])
    _, failures = Scorer(model, LATE).score(pd.DataFrame([[0.0], [NAN], [1.0]]))
    assert [(f.row, f.reason) for f in failures] == [(1, "model_raised")]
    assert "Input X contains NaN" in failures[0].message


@pytest.mark.parametrize(
    "answer",
    [
        lambda rows: np.full(len(rows), 0.5),
        lambda rows: np.full((len(rows), 3), 0.5),
        lambda rows: np.full((len(rows) - 1, 2), 0.5),
        lambda rows: "half",
        lambda rows: None,
    ],
)
def test_an_answer_of_the_wrong_shape_is_a_failure_of_each_row(answer):
    scores, failures = Scorer(Model(answer), LATE).score(pd.DataFrame({"x": [1.0, 2.0]}))
    assert [(f.row, f.reason) for f in failures] == [(0, "model_raised"), (1, "model_raised")]
    assert np.isnan(scores).all()


def test_a_regression_by_a_model_that_only_predicts():
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 2.0])
    scores, failures = Scorer(model, Target()).score(pd.DataFrame([[0.5], [1.5]]))
    assert scores[:, 0] == pytest.approx([1.0, 3.0])
    assert failures == []


def test_classes_that_the_model_has_not_seen_have_no_probability():
    model = LogisticRegression().fit([[0.0], [1.0]], ["c", "a"])
    scores, _ = Scorer(model, Target(("a", "b", "c"))).score(pd.DataFrame([[0.0]]))
    assert scores[0, 1] == 0.0
    assert scores[0, 2] > scores[0, 0]


@pytest.mark.parametrize("labels", [["a", "d"], [0, 1], [True, False]])
def test_classes_that_the_pipeline_has_not_declared_are_refused(labels):
    model = LogisticRegression().fit([[0.0], [1.0]], labels)
    with pytest.raises(ModelError, match="does not declare"):
        Scorer(model, Target(("a", "b", "c")))


@pytest.mark.parametrize(
    ("model", "target", "wanted"),
    [(LinearRegression(), LATE, "predict_proba"), (object(), LATE, "predict_proba_one"), ("x", Target(), "predict")],
)
def test_what_cannot_predict_is_refused(model, target, wanted):
    with pytest.raises(ModelError, match=wanted):
        Scorer(model, target)


class Layouts:
    """Remembers how the numbers lie in memory, and takes no missing value."""

    def __init__(self):
        self.seen = set()

    def predict(self, frame):
        if frame.isna().any(axis=None):
            raise ValueError("Input X contains NaN")
        values = np.asarray(frame)
        self.seen.add((values.shape, values.strides))
        return values.sum(axis=1)


@pytest.mark.parametrize("others", [0, 1, 5, 2000])
def test_a_model_sees_one_memory_layout_whatever_comes_together(others):
    model = Layouts()
    scorer = Scorer(model, Target())
    alone = pd.DataFrame({"x": [1.0], "y": [2.0], "z": [3.0]})
    for missing in (np.nan, 7.0):
        rest = pd.DataFrame(np.full((others, 3), missing), columns=["x", "y", "z"])
        scorer.score(alone)
        scorer.score(pd.concat([alone, rest], ignore_index=True))
    assert len(model.seen) == 1


def test_a_river_classifier():
    model = river_models.LogisticRegression()
    scorer = Scorer(model, LATE)
    for x in np.linspace(-1, 1, 50):
        model.learn_one({"x": x}, bool(x > 0))
    scores, failures = scorer.score(pd.DataFrame({"x": [-1.0, 1.0]}))
    assert failures == []
    assert scores.sum(axis=1) == pytest.approx(1)
    assert scores[0, 1] < 0.5 < scores[1, 1]
    assert scores[1].tolist() == list(model.predict_proba_one({"x": 1.0}).values())


def test_a_river_regression():
    model = river_models.LinearRegression()
    model.learn_one({"x": 1.0}, 2.0)
    scores, _ = Scorer(model, Target()).score(pd.DataFrame({"x": [1.0, 2.0]}))
    assert scores[:, 0].tolist() == [model.predict_one({"x": 1.0}), model.predict_one({"x": 2.0})]


class OneByOne:
    """Answers row by row, as River's models do."""

    def __init__(self, answer):
        self.answer, self.calls = answer, 0

    def predict_proba_one(self, row):
        self.calls += 1
        return self.answer(row)


def test_a_model_of_single_rows_is_asked_once_per_row():
    model = OneByOne(lambda row: {True: 0.25, False: 0.75})
    scores, _ = Scorer(model, LATE).score(pd.DataFrame({"x": [1.0, 2.0, 3.0]}))
    assert scores.tolist() == [[0.75, 0.25]] * 3
    assert model.calls == 3


def test_before_its_first_class_a_river_model_knows_nothing():
    scores, _ = Scorer(OneByOne(lambda row: {}), LATE).score(pd.DataFrame({"x": [1.0]}))
    assert scores.tolist() == [[0.5, 0.5]]


def test_a_river_model_of_other_classes_fails_instead_of_answering_zeros():
    _, failures = Scorer(OneByOne(lambda row: {"yes": 1.0}), LATE).score(pd.DataFrame({"x": [1.0]}))
    assert [f.reason for f in failures] == ["model_raised"]
    assert "['yes']" in failures[0].message
