import joblib
import numpy as np
import optuna
import pyarrow as pa
import pytest
from river import linear_model as river_models
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from tidemill.processors.online_inference.target import Target
from tidemill.processors.training.candidates import (
    Candidate,
    all_candidates,
    choice,
    integer,
    log_uniform,
    uniform,
)
from tidemill.processors.training.search import search
from tidemill.schemas.errors import DeclarationError, ModelError

TWO = Target((False, True))
TREE = Candidate(
    "tree",
    DecisionTreeClassifier(),
    {"max_depth": integer(1, 6), "min_samples_leaf": uniform(0.001, 0.2), "criterion": choice(["gini", "entropy"])},
)
CANDIDATES = all_candidates(LogisticRegression(), [TREE])


def table(n=600, seed=0, delay=20, **columns):
    """Labels that a product of two features decides: no line tells them apart, a tree does."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n))
    seconds = np.arange(n) * 1_000_000
    kind = pa.timestamp("us", "UTC")
    made = {
        "a": a,
        "b": b,
        "label": a * b + 0.2 * rng.normal(size=n) > 0,
        "event_time": pa.array(seconds, kind),
        "label_time": pa.array(seconds + delay * 1_000_000, kind),
        **columns,
    }
    return pa.table(made)


ROWS = table()
TRAIN, VALIDATION = ROWS[:450], ROWS[450:]


def found(candidates=CANDIDATES, train=TRAIN, validation=VALIDATION, target=TWO, trials=8, **options):
    return search(candidates, ["a", "b"], target, train, validation, trials=trials, **options)


def figures(searched):
    return [(t.candidate, t.params, t.state, t.score, t.folds) for t in searched.trials]


@pytest.fixture(scope="module")
def uncut():
    return found()


def test_what_fits_the_data_wins(uncut):
    assert uncut.name == "tree"
    assert uncut.score < uncut.baseline_score - 0.1
    assert uncut.metric == "log_loss"
    assert [t.candidate for t in uncut.trials[:3]] == ["baseline", "estimator", "tree"]
    assert len(uncut.trials) == 1 + 8
    # Fitted on all training rows with the parameters that are told.
    assert uncut.model.get_params() | uncut.params == uncut.model.get_params()
    assert uncut.model.tree_.n_node_samples[0] == len(TRAIN)
    assert uncut.baseline.predict_proba([[0, 0]])[0, 1] == np.mean(TRAIN["label"].to_numpy())


def test_poor_trials_are_given_up_and_declared_ones_never(uncut):
    assert {t.state for t in uncut.trials[:3]} == {"complete"}
    pruned = [t for t in uncut.trials if t.state == "pruned"]
    assert pruned
    assert all(t.score is None and len(t.folds) < 4 for t in pruned)


def test_the_same_again(uncut):
    assert figures(found()) == figures(uncut)
    assert figures(found(seed=1)) != figures(uncut)


def test_several_jobs_give_one_result():
    with joblib.parallel_config("threading"):
        first, second = found(jobs=2, trials=6), found(jobs=2, trials=6)
    assert figures(first) == figures(second)
    assert len(first.trials) == 1 + 6


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('search')}/studies.db"


class Cut(BaseException):
    """The process ends."""


class EndsAt(ClassifierMixin, BaseEstimator):
    """A tree, until it was fitted often enough."""

    left = 0

    def __init__(self, max_depth=3):
        self.max_depth = max_depth

    def fit(self, x, y):
        EndsAt.left -= 1
        if EndsAt.left == 0:
            raise Cut
        self.tree_ = DecisionTreeClassifier(max_depth=self.max_depth, random_state=0).fit(x, y)
        self.classes_ = self.tree_.classes_
        return self

    def predict_proba(self, x):
        return self.tree_.predict_proba(x)


@pytest.mark.parametrize("fits", [1, 6, 11])
def test_a_search_that_was_cut_off_goes_on_as_if_it_had_not_been(fits, database):
    candidates = [Candidate("own", EndsAt(), {"max_depth": integer(1, 12)})]
    EndsAt.left = 0
    whole = found(candidates)
    storage = {"storage": database, "study": f"cut-{fits}"}
    EndsAt.left = fits
    with pytest.raises(Cut):
        found(candidates, **storage)
    again = found(candidates, **storage)
    assert figures(again) == figures(whole)
    assert (again.name, again.params, again.score) == (whole.name, whole.params, whole.score)
    # There is nothing left to do: the same result comes from the record.
    told = []
    assert figures(found(candidates, **storage, on_trial=told.append)) == figures(whole)
    assert [trial.candidate for trial in told] == ["baseline"]


def test_searches_that_share_a_storage_share_the_work():
    storage = optuna.storages.InMemoryStorage()
    told = []
    inner = []

    def second(trial):
        told.append(trial)
        if len(told) == 3:  # the first one is half-way, with a trial of its own done
            found(storage=storage, alone=False, trials=5, on_trial=inner.append)

    both = found(storage=storage, alone=False, trials=8, on_trial=second)
    assert len(both.trials) == 1 + 8
    assert len(told) + len(inner) == 1 + 8 + 1  # each makes the baseline itself


def test_a_trial_of_another_process_is_left_alone():
    storage = optuna.storages.InMemoryStorage()
    found(storage=storage, trials=4)
    study = optuna.load_study(storage=storage, study_name="search")
    study.ask().set_user_attr("place", 4)
    assert len(found(storage=storage, trials=6, alone=False).trials) == 1 + 5
    assert len(found(storage=storage, trials=6, alone=True).trials) == 1 + 6


def test_nothing_better_than_the_baseline():
    rng = np.random.default_rng(1)
    rows = table().set_column(2, "label", pa.array(rng.random(600) > 0.5))
    made = found([TREE], rows[:450], rows[450:], trials=3)
    assert made.name == "baseline"
    assert made.score == made.baseline_score
    assert made.model.predict_proba([[0, 0]]).tolist() == made.baseline.predict_proba([[0, 0]]).tolist()


def test_weights_count_in_fitting_and_not_in_measuring():
    weights = np.where(TRAIN["label"].to_numpy(zero_copy_only=False), 1.0, 0.0)
    weights[:2] = 1.0
    train = TRAIN.append_column("sample_weight", pa.array(weights))
    pipeline = Candidate("scaled", make_pipeline(StandardScaler(), LogisticRegression()))
    made = found([pipeline, Candidate("near", KNeighborsClassifier())], train, trials=2)
    assert made.trials[1].state == "complete"
    assert made.trials[2].state == "failed"
    assert "KNeighborsClassifier takes none" in made.trials[2].error
    # Weights make True almost certain, and the rows measured on count as they are: so that is a bad guess.
    assert made.trials[1].score > made.trials[0].score * 0.9
    assert made.baseline.predict_proba([[0, 0]])[0, 1] > 0.99


def test_rivers_models_and_numbers():
    rows = table().set_column(2, "label", pa.array(3 * table()["a"].to_numpy() + 1))
    made = search(
        [
            Candidate("line", LinearRegression()),
            Candidate("online", river_models.LinearRegression(), {"l2": uniform(0, 1)}),
        ],
        ["a", "b"],
        Target(),
        rows[:450],
        rows[450:],
        trials=4,
    )
    assert (made.name, made.metric) == ("line", "mae")
    assert made.score == pytest.approx(0, abs=1e-9)
    assert {t.state for t in made.trials if t.candidate == "online"} <= {"complete", "pruned"}


def test_labels_that_came_too_late_are_not_fitted_on():
    seen = []

    class Counts(LogisticRegression):
        def fit(self, x, y):
            seen.append(len(x))
            return super().fit(x, y)

    made = found([Candidate("counts", Counts())], trials=1)
    # Three folds of 450 rows, cut at 112, 225 and 337, then all; each without the 19 rows whose labels were under way.
    assert seen == [112 - 19, 225 - 19, 337 - 19, 450 - 19, 450]
    assert len(made.trials[1].folds) == 4


def test_folds_of_the_caller():
    made = found([Candidate("line", LogisticRegression())], folds=[(np.arange(50), np.arange(50, 60))], trials=1)
    assert len(made.trials[1].folds) == 2
    weights = [10, 150]
    assert made.score == pytest.approx(np.average(made.trials[0].folds, weights=weights))


@pytest.mark.parametrize("metric", ["brier", "accuracy", "auc"])
def test_other_metrics(metric):
    made = found(metric=metric, trials=3)
    tree, base = made.trials[2], made.trials[0]
    assert made.name == "tree"
    assert tree.score < base.score if metric == "brier" else tree.score > base.score


def test_what_cannot_be_searched():
    with pytest.raises(DeclarationError, match=r"metric 'log_los' is none.*did you mean 'log_loss'"):
        found(metric="log_los")
    with pytest.raises(ModelError, match="have one label"):
        found(train=TRAIN.filter(TRAIN["label"]))
    with pytest.raises(ModelError, match="found 0"):
        found(train=TRAIN[:0])
    with pytest.raises(ModelError, match="no split by time"):
        found(train=table(8, delay=100), validation=TRAIN[:0])
    with pytest.raises(ModelError, match=r"no candidate could be fitted.*forest: InvalidParameterError"):
        found([Candidate("forest", RandomForestClassifier(n_estimators=-1))])


def test_a_candidate_that_raises_at_times_does_not_stop_the_others():
    made = found(
        [
            Candidate("line", LogisticRegression(), {"C": log_uniform(1, 2)}),
            *CANDIDATES[1:],
            Candidate("bad", RandomForestClassifier(n_estimators=-1)),
        ],
        trials=5,
    )
    assert [t.candidate for t in made.trials if t.state == "failed"] == ["bad"]
    assert "n_estimators" in made.trials[3].error
    assert {t.candidate for t in made.trials if t.state == "complete"} >= {"line", "tree"}
