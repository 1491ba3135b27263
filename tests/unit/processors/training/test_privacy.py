import importlib
import json
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.tree import DecisionTreeClassifier

import tidemill as tm
from tidemill.processors.online_inference.artefact import dump_model, load_model
from tidemill.processors.online_inference.target import Target
from tidemill.processors.training.diffprivlib_import import diffprivlib
from tidemill.processors.training.privacy import DifferentialPrivacy, Spending, require_budget, spent
from tidemill.processors.training.private_models import fit_private
from tidemill.processors.training.private_search import private_search
from tidemill.streams.noise import fresh_noise

ROWS = np.random.default_rng(0).uniform(0, 10, size=(2000, 2))
FRAME = pd.DataFrame(ROWS, columns=["a", "b"])
OVER = ROWS[:, 0] > 5
THIRDS = np.array(["low", "middle", "up"])[np.digitize(ROWS[:, 0], [3, 7])]
LINE = 2 * ROWS[:, 0] - ROWS[:, 1]
BOUNDS = {"a": (0, 10), "b": (0, 10)}


def privacy(epsilon, **changes):
    return DifferentialPrivacy(
        epsilon, **{"per_dataset_budget": 1e9, "bounds": BOUNDS, "label_bounds": (-10, 20)} | changes
    )


def fitted(estimator, labels, classes, epsilon, seed):
    return fit_private(estimator, privacy(epsilon), FRAME, labels, classes, np.random.RandomState(seed))


def goodness(model, labels, classes):
    if not classes:
        return -np.mean(np.abs(model.predict(FRAME) - labels))
    return np.mean(np.asarray(model.classes_)[model.predict_proba(FRAME).argmax(axis=1)] == labels)


@pytest.mark.parametrize(
    ("estimator", "labels", "classes", "good"),
    [
        (LogisticRegression(), OVER, (False, True), 0.95),
        (LogisticRegression(), THIRDS, ("low", "up", "middle"), 0.85),
        (GaussianNB(), OVER, (False, True), 0.9),
        (GaussianNB(), THIRDS, ("low", "up", "middle"), 0.85),
        (RandomForestClassifier(10, max_depth=4), OVER, (False, True), 0.8),
        (RandomForestClassifier(10), THIRDS, ("low", "up", "middle"), 0.7),
        (LinearRegression(), LINE, (), -0.5),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else None,
)
def test_what_is_offered_learns_and_less_epsilon_means_more_noise(estimator, labels, classes, good):
    loose = [fitted(estimator, labels, classes, 1000.0, seed) for seed in range(3)]
    tight = [fitted(estimator, labels, classes, 0.001, seed) for seed in range(3)]
    assert min(goodness(model, labels, classes) for model in loose) > good
    assert np.mean([goodness(model, labels, classes) for model in tight]) < good - 0.2
    # Another noise is another model, and the same one the same.
    first, second = (model.predict_proba(FRAME) if classes else model.predict(FRAME) for model in tight[:2])
    again = fitted(estimator, labels, classes, 0.001, 0)
    assert not np.allclose(first, second)
    assert np.array_equal(again.predict_proba(FRAME) if classes else again.predict(FRAME), first)
    # Who serves it needs nothing of diffprivlib.
    artefact = dump_model(loose[0])
    assert artefact.format == "skops"
    assert b"diffprivlib" not in artefact.data
    loaded = load_model(artefact, artefact.sha256, [artefact.sha256])
    assert np.array_equal(loaded.predict(FRAME), loose[0].predict(FRAME))


def test_noise_has_the_size_that_the_mechanism_promises():
    """The sum of a square changes by reach**2 at most: its noise, folded at 0, is measured through the fitted line."""
    module = diffprivlib("models")
    drawn = []
    for seed in range(300):
        model = module.LinearRegression(
            epsilon=5.0,
            bounds_X=(-1.0, 1.0),
            bounds_y=(-1, 1),
            fit_intercept=False,
            random_state=np.random.RandomState(seed),
        )
        model.fit(np.full((50, 1), 0.5), np.full(50, 0.5))
        drawn.append(model._obj_coefs[2][0, 0] - 50 * 0.25)
    # A third of epsilon for each of three sums; Laplace noise of scale s has mean distance s.
    assert np.mean(np.abs(drawn)) == pytest.approx(3 / 5, rel=0.25)


def test_values_outside_the_bounds_are_cut_off_and_missing_ones_are_the_middle():
    model = fitted(LogisticRegression(), OVER, (False, True), 1000.0, 0)
    frame = pd.DataFrame({"a": [10.0, 1e9, np.nan, 5.0], "b": [5.0, 5.0, 5.0, 5.0]})
    said = model.predict_proba(frame)[:, 1]
    assert said[0] == said[1]
    assert said[2] == said[3]


def test_nothing_is_learnt_beside_the_noisy_parameters():
    """The scale is of the bounds: other rows within them leave it as it is."""
    other = fit_private(LogisticRegression(), privacy(1.0), FRAME / 2, OVER, (False, True), np.random.RandomState(0))
    model = fitted(LogisticRegression(), OVER, (False, True), 1.0, 0)
    assert np.array_equal(other[0].scale_, model[0].scale_)
    assert np.array_equal(other[1].statistics_, model[1].statistics_)


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        (DecisionTreeClassifier(), "private training of DecisionTreeClassifier is not offered"),
        (make_pipeline(GaussianNB()), "features are scaled by their bounds"),
        (LogisticRegression(class_weight="balanced"), "does not know its class_weight"),
        (LinearRegression(), "does not predict classes"),
    ],
)
def test_what_is_not_offered(estimator, said):
    with pytest.raises(tm.DeclarationError, match=said):
        fitted(estimator, OVER, (False, True), 1.0, 0)


def test_a_class_without_labels():
    with pytest.raises(tm.ModelError, match="labels of all classes"):
        fitted(GaussianNB(), np.full(len(FRAME), True), (False, True), 1.0, 0)


def test_scikit_learn_gets_back_what_was_lent():
    tree = importlib.import_module("sklearn.tree._tree")
    before = set(vars(tree))
    for name in [name for name in sys.modules if name.split(".")[0] == "diffprivlib"]:
        del sys.modules[name]
    assert diffprivlib("mechanisms").Laplace
    assert set(vars(tree)) == before


def test_without_diffprivlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffprivlib", None)
    monkeypatch.setitem(sys.modules, "diffprivlib.models", None)
    with pytest.raises(tm.ModelError, match=r"pip install 'tidemill\[training\]'"):
        diffprivlib("models")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"epsilon": 0}, "epsilon=0"),
        ({"epsilon": float("nan")}, "epsilon=nan"),
        ({"epsilon": 2, "per_dataset_budget": 1}, "spend more than per_dataset_budget=1"),
        ({"epsilon": 1, "bounds": {"a": (1, 1)}}, "bounds of a are 1 and 1"),
        ({"epsilon": 1, "label_bounds": (2, 1)}, "bounds of the label"),
    ],
)
def test_what_cannot_be_asked_for(given, said):
    with pytest.raises(tm.DeclarationError, match=said):
        DifferentialPrivacy(**{"per_dataset_budget": 3} | given)


def test_all_that_the_model_sees_must_be_bounded():
    schema = pa.schema([("a", pa.float64()), ("flag", pa.bool_()), ("text", pa.string())])
    asked = DifferentialPrivacy(1, 1, bounds={"a": (0, 1)})
    asked.check(schema, ["a", "flag"], classes=True)
    for names, bounds, classes, said in [
        (["a", "text"], {"a": (0, 1)}, True, "'text' is text"),
        (["a"], {}, True, "which numbers feature 'a' lies"),
        (["a"], {"a": (0, 1), "flga": (0, 1)}, True, "names 'flga'"),
        (["a"], {"a": (0, 1)}, False, "label_bounds"),
    ]:
        with pytest.raises(tm.DeclarationError, match=said):
            DifferentialPrivacy(1, 1, bounds=bounds).check(schema, names, classes=classes)


ranges = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 9), st.integers(0, 9)), max_size=3).map(
    lambda given: tuple((p, min(a, b), max(a, b)) for p, a, b in given)
)


@given(st.lists(st.builds(Spending, st.sampled_from("abc"), st.integers(1, 4).map(float), ranges), max_size=6), ranges)
def test_the_account_is_kept_row_by_row(records, asked):
    rows = {(p, offset) for p, first, last in asked for offset in range(first, last + 1)}
    same = sum(entry.epsilon for entry in records if entry.dataset == "a")
    by_row = [same + sum(e.epsilon for e in records if e.dataset != "a" and e.covers(*row)) for row in rows]
    assert spent(records, "a", asked) == max(by_row, default=same)
    assert [Spending.of(json.loads(json.dumps(entry.record()))) for entry in records] == records


def test_a_spent_budget_refuses_with_figures():
    asked = DifferentialPrivacy(1.0, per_dataset_budget=2.5)
    account = []
    for _ in range(2):
        account.append(require_budget(account, "a", asked, [(0, 0, 9)]))
    with pytest.raises(
        tm.ModelError, match=r"data set a with epsilon 1 would make 3 of a budget of 2\.5, of which 2 is"
    ):
        require_budget(account, "a", asked, [(0, 0, 9)])
    # Another name does not help, other rows do.
    with pytest.raises(tm.ModelError, match="would make 3"):
        require_budget(account, "b", asked, [(0, 9, 20)])
    assert require_budget(account, "b", asked, [(0, 10, 20)]).epsilon == 1.0


def test_one_fit_in_the_place_of_a_search():
    rows = pa.table({"a": ROWS[:, 0], "b": ROWS[:, 1], "label": OVER})
    target = Target((False, True))
    made = private_search(
        LogisticRegression(), privacy(100.0), ["a", "b"], target, rows[:1500], rows[1500:], fresh_noise()
    )
    assert (made.name, made.metric, len(made.trials)) == ("estimator", "log_loss", 2)
    assert made.score < made.baseline_score
    weighted = rows.append_column("sample_weight", rows["a"])
    with pytest.raises(tm.ModelError, match="have weights"):
        private_search(LogisticRegression(), privacy(1.0), ["a", "b"], target, weighted, rows[:0], fresh_noise())


def test_fresh_noise_is_never_the_same():
    assert fresh_noise().uniform() != fresh_noise().uniform()


def test_a_pipeline_says_at_once_what_cannot_be_private():
    model = tm.Model(LogisticRegression(), ["a"], privacy=privacy(1.0, bounds={"a": (0, 1)}))
    schema = pa.schema([("a", pa.float64())])
    model.check(schema)
    with pytest.raises(tm.DeclarationError, match="every fit costs privacy"):
        tm.Model(
            LogisticRegression(), ["a"], privacy=model.privacy, candidates=[tm.Candidate("b", GaussianNB())]
        ).check(schema)
    with pytest.raises(tm.DeclarationError, match="is not offered"):
        tm.Model(DecisionTreeClassifier(), ["a"], privacy=model.privacy).check(schema)
