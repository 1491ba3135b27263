import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.online_inference import Target
from tidemill.processors.training.gates import Examination, Gates
from tidemill.processors.training.gates.leakage import leakage_gate
from tidemill.processors.training.gates.telling import Bins, shift, telling


def examined(world, make_world, *, learnt=None, served=None, fresh=None, **changes):
    """An examination with a feature `delay` that has these values; None leaves out where it would stand."""
    past, future = make_world(seed=1), make_world(seed=2)
    columns = {
        "trained": past.table() if learnt is None else past.table(delay=learnt(past)),
        "rows": world.table(10_000) if served is None else world.table(10_000, delay=served(world)),
        "fresh": future.table(20_000) if fresh is None else future.table(20_000, delay=fresh(future)),
    }
    return world.examination(features=("x", "delay"), **{**columns, **changes})


def nearly(some):
    return np.where(some.labels, 20.0, 3.0) + some.rng.normal(size=len(some.labels))


def noise(some):
    return some.rng.normal(size=len(some.labels))


def missing(some):
    return pa.nulls(len(some.labels), pa.float64())


def weakly(some):
    return np.where(some.labels, 1.0, 0.0) + some.rng.normal(size=len(some.labels))


def test_good_features_are_let_through(world, make_world):
    result = leakage_gate(examined(world, make_world, learnt=weakly, served=weakly, fresh=weakly))
    assert result.passed
    assert result.message == "None of 2 features tells the label only where it is known."
    assert result.figures["delay.examined"] < 0.9


def test_what_tells_the_label_when_learnt_but_not_when_served(world, make_world):
    for served in (noise, missing):
        result = leakage_gate(examined(world, make_world, learnt=nearly, served=served, fresh=served))
        assert not result.passed
        assert "delay alone tells the label in what was learnt (AUC 0.99" in result.message
        assert "but not in what was served (0.5" in result.message


def test_what_is_missing_until_the_label_comes(world, make_world):
    result = leakage_gate(examined(world, make_world, learnt=nearly, served=nearly, fresh=missing))
    assert not result.passed
    assert "delay tells the label (AUC 1.000)" in result.message
    assert "where that is known, but is missing in 100% more" in result.message


def test_what_is_missing_until_the_label_comes_need_not_tell_all(world, make_world):
    result = leakage_gate(examined(world, make_world, learnt=weakly, served=weakly, fresh=missing))
    assert not result.passed
    assert "it may come with the label" in result.message


def test_what_has_another_value_until_the_label_comes(world, make_world):
    result = leakage_gate(
        examined(world, make_world, learnt=nearly, served=nearly, fresh=lambda some: np.zeros(len(some.labels)))
    )
    assert not result.passed
    assert "is distributed otherwise in" in result.message


def test_what_has_begun_to_tell_the_label(world, make_world):
    result = leakage_gate(examined(world, make_world, learnt=missing, served=nearly, fresh=nearly))
    assert not result.passed
    assert "in the newest rows (AUC 0.99" in result.message


def test_another_concept_on_the_same_features_is_none(world, make_world):
    """What decided nothing decides all of a sudden, as in STAGGER: its distribution is as before."""
    world.labels = world.noise > 0
    given = world.examination(features=("x", "noise"), trained=make_world(seed=1).table())
    result = leakage_gate(given)
    assert result.passed
    assert result.figures["noise.examined"] > 0.98
    assert result.message.endswith("Is that known before the label?")


def test_a_feature_that_tells_all_everywhere_is_said_but_let_through(world, make_world):
    result = leakage_gate(examined(world, make_world, learnt=nearly, served=nearly, fresh=nearly))
    assert result.passed
    assert "alone, nearly perfectly and everywhere: delay (AUC 0.99" in result.message


def test_a_candidate_that_is_perfect_only_where_labels_are_known(world, sigmoid):
    """Two features that tell the label together, or a look-up that no feature shows."""
    knows = sigmoid(np.where(world.labels, 6.0, -6.0))
    guesses = sigmoid(world.rng.normal(size=500))
    result = leakage_gate(world.examination(candidate=knows, fresh_scores=guesses))
    assert not result.passed
    assert "the candidate is nearly perfect where labels are known" in result.message
    assert leakage_gate(world.examination(candidate=knows, fresh_scores=knows[:500])).passed
    honest = world.examination(fresh_scores=sigmoid(world.truth + 1))
    assert leakage_gate(honest).passed


def test_what_could_not_be_seen_is_said(world):
    result = leakage_gate(world.examination(trained=None))
    assert result.passed
    assert "as far as can be seen without the rows learnt and rows served since" in result.message


def test_text_and_numbers(make_world):
    world, past = make_world(seed=0), make_world(seed=1)
    target = Target()

    def table(some, **columns):
        return pa.table({"code": [f"c{n % 7}" for n in range(len(some.x))], **columns})

    given = Examination(
        target,
        world.x,
        candidate=world.x.reshape(-1, 1),
        baseline=np.zeros((2_000, 1)),
        features=("code", "answer"),
        gates=Gates(),
        rows=table(world, answer=pa.nulls(2_000, pa.float64())),
        trained=table(past, answer=past.x, label=past.x),
    )
    result = leakage_gate(given)
    assert not result.passed
    assert "answer alone tells the label in what was learnt" in result.message
    assert result.figures["code.learnt"] < 0.6


# How well a feature tells


def test_a_bin_for_each_row_tells_nothing():
    labels = np.random.default_rng(0).random(500) < 0.5
    assert telling(np.arange(500), labels, classes=True) < 0.6


def test_any_shape_of_dependence_is_seen():
    x = np.random.default_rng(0).normal(size=2_000)
    column = pa.chunked_array([x])
    places = Bins.of(column).places(column)
    assert telling(places, np.abs(x) > 0.7, classes=True) > 0.98
    assert telling(places, np.where(x > 0, "a", "b"), classes=True) > 0.98
    assert telling(places, np.ones(2_000, bool), classes=True) == 0.5
    assert telling(places, x**3, classes=False) > 0.98
    assert telling(places, np.ones(2_000), classes=False) == 0.5


def test_values_that_are_missing_have_a_place_of_their_own():
    there, gone = pa.chunked_array([[1, 2, None, 4]]), pa.chunked_array([pa.nulls(4, pa.int64())])
    bins = Bins.of(there, gone)
    assert bins.places(there).tolist() == [0, 1, bins.count - 1, 2]
    assert set(bins.places(gone).tolist()) == {bins.count - 1}
    made = shift(bins.places(there), bins.places(gone), bins)
    assert (made.distance, made.missing) == (0.75, 0.75)
    text = pa.chunked_array([["a", None, "b"]])
    assert Bins.of(text).places(text).tolist() == [0, 2, 1]


def test_infinities_have_a_place():
    column = pa.chunked_array([np.concatenate([[np.inf, -np.inf], np.arange(100.0)])])
    bins = Bins.of(column)
    assert bins.places(column)[:2].tolist() == [bins.count - 2, 0]


@pytest.mark.parametrize("kind", [pa.bool_(), pa.int64(), pa.float64()])
def test_few_values_have_a_bin_each(kind):
    column = pa.chunked_array([pa.array([0, 1, 1, 0]).cast(kind)])
    assert Bins.of(column).places(column).tolist() == [0, 1, 1, 0]
