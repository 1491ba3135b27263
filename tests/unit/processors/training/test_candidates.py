import pytest
from river import linear_model as river_models
from river import preprocessing
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tidemill as tm
from tidemill.processors.training.candidates import DECLARED, all_candidates, parameters
from tidemill.processors.training.fitting import copy_of


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: tm.uniform(1, 1), "the smaller one first"),
        (lambda: tm.uniform(0, float("inf")), "two finite numbers"),
        (lambda: tm.uniform("0", 1), "two finite numbers"),
        (lambda: tm.log_uniform(0, 1), "above 0"),
        (lambda: tm.integer(0.5, 3), "whole numbers"),
        (lambda: tm.integer(True, 3), "whole numbers"),
        (lambda: tm.choice("ab"), "a list of values"),
        (lambda: tm.choice([]), "a list of values"),
        (lambda: tm.choice([1, 1]), "different values"),
        (lambda: tm.Candidate("a b", LogisticRegression()), "expected a letter"),
        (lambda: tm.Candidate("baseline", LogisticRegression()), "taken by the simple baseline"),
        (lambda: tm.Candidate("x", LogisticRegression), r"LogisticRegression\(\)"),
        (lambda: tm.Candidate("x", LogisticRegression(), {"C": [1, 2]}), "expected uniform"),
        (lambda: tm.Candidate("x", LogisticRegression(), {"max_itr": tm.integer(1, 2)}), "did you mean 'max_iter'"),
        (lambda: tm.Candidate("x", object(), {"C": tm.uniform(1, 2)}), "has no parameter 'C'"),
        (
            lambda: tm.Candidate("x", make_pipeline(LogisticRegression()), {"C": tm.uniform(1, 2)}),
            "has no parameter 'C'; did you mean 'logisticregression__C'",
        ),
        (lambda: all_candidates(LogisticRegression(), [tm.Candidate(DECLARED, LogisticRegression())]), "given twice"),
    ],
)
def test_what_cannot_be_is_refused(make, said):
    with pytest.raises(tm.DeclarationError, match=said):
        make()


def test_a_choice_may_hold_anything_and_tells_true_from_one():
    space = tm.choice([1, True, (10, 5), None])
    assert space.names == (1, True, "(10, 5)", None)
    assert space.value("(10, 5)") == (10, 5)
    assert space.name_of(True) is True
    assert space.name_of((10, 4)) is None


def test_the_parts_of_a_pipeline_have_names():
    model = make_pipeline(StandardScaler(), LogisticRegression())
    candidate = tm.Candidate("linear", model, {"logisticregression__C": tm.log_uniform(0.1, 10)})
    assert candidate.declared() == {"logisticregression__C": 1.0}
    made = copy_of(model, {"logisticregression__C": 3.0}, seed=4)
    assert (made[-1].C, made[-1].random_state, model[-1].C) == (3.0, 4, 1.0)


def test_a_river_model_has_them_too():
    model = preprocessing.StandardScaler() | river_models.LogisticRegression()
    assert parameters(model)["LogisticRegression__l2"] == 0.0
    made = copy_of(model, {"LogisticRegression__l2": 0.5}, seed=4)
    assert made["LogisticRegression"].l2 == 0.5
    assert model["LogisticRegression"].l2 == 0.0


def test_a_random_state_that_was_chosen_stays():
    assert copy_of(LogisticRegression(random_state=1), seed=4).random_state == 1
