"""The policy as a model: River's protocol, stored and loaded without trust, and nothing that was altered."""

import numpy as np
import pandas as pd
import pytest

import tidemill as tm
from tidemill.processors.adaptation import forest_state
from tidemill.processors.adaptation.packed import pack, unpack
from tidemill.processors.online_inference.artefact import Artefact, dump_model, load_model
from tidemill.processors.online_inference.scorer import Scorer
from tidemill.processors.online_inference.target import Target

CLASSES = ("high", "low")


def made(count: int, seed: int = 0) -> tuple[pd.DataFrame, list[str]]:
    chance = np.random.default_rng(seed)
    kind = pd.Series([[None, "a", "b"][n] for n in chance.integers(0, 3, count)], dtype=object)
    frame = pd.DataFrame({"x": chance.normal(size=count), "y": chance.normal(size=count), "kind": kind})
    labels = np.where(frame["x"] + 2 * (kind == "a") > 0.5, "high", "low").tolist()
    frame.loc[::7, "y"] = np.nan
    return frame, labels


@pytest.fixture(scope="module")
def learned():
    frame, labels = made(1_700)
    model = tm.AdaptiveClassifier(classes=CLASSES)
    answers = model.answer_and_learn(frame, labels)
    assert (np.array(CLASSES)[answers.argmax(axis=1)] == labels)[1_000:].mean() > 0.9
    return model


def test_it_is_rivers_protocol(learned) -> None:
    frame, labels = made(60, seed=1)
    one, many = learned.clone(), learned.clone()
    many.learn_many(frame, pd.Series(labels))
    for row, label in zip(frame.to_dict(orient="records"), labels, strict=True):
        one.learn_one(row, label)
    assert dump_model(one) == dump_model(many)
    answers = many.predict_proba_many(frame)
    assert list(answers.columns) == list(CLASSES)
    rows = frame.to_dict(orient="records")
    assert [many.predict_proba_one(row) for row in rows] == answers.to_dict(orient="records")
    assert [many.predict_one(row) for row in rows] == many.predict_many(frame).tolist()
    assert learned.clone({"seed": 7}).seed == 7


def test_before_anything_is_learned_all_classes_are_alike() -> None:
    assert tm.AdaptiveClassifier(classes=CLASSES).predict_proba_one({"x": 1.0}) == {"high": 0.5, "low": 0.5}


def test_it_comes_back_to_the_last_bit_without_anyones_trust(learned) -> None:
    frame, labels = made(300, seed=2)
    artefact = dump_model(learned)
    found, other = (load_model(artefact, artefact.sha256) for _ in range(2))
    assert np.array_equal(found.predict_proba(frame), learned.predict_proba(frame))
    assert np.array_equal(found.answer_and_learn(frame, labels), other.answer_and_learn(frame, labels))
    assert dump_model(found) == dump_model(other) != artefact


def test_a_rows_score_depends_on_it_alone(learned) -> None:
    frame, _ = made(1_500, seed=3)
    scorer = Scorer(learned, Target(CLASSES))
    scores, failures = scorer.score(frame)
    assert failures == []
    for start, stop in ((0, 1), (700, 733), (1_023, 1_500)):
        assert np.array_equal(scorer.score(frame.iloc[start:stop])[0], scores[start:stop])


def test_what_it_did_is_told(learned) -> None:
    assert learned.done.startswith("5 fits")
    assert learned.clone().done == "nothing was fitted or changed"


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("policy/forest/feature", 10**6),
        ("policy/forest/left", 10**6),
        ("policy/forest/subset", -1),
        ("policy/forest/size", 10**6),
        ("policy/forest/slots", 10**6),
        ("policy/forest/windows", 9),
        ("policy/history/labels", 99),
        ("encoder/shares", None),
        ("policy/forest/chance", None),
    ],
)
def test_what_was_altered_is_refused(learned, part, value) -> None:
    kept, arrays = unpack(learned.__getstate__()["learned"])
    if value is None:
        del arrays[part]
    else:
        arrays[part] = np.full_like(arrays[part], value)
    with pytest.raises(tm.ModelError):
        load(learned, pack(kept, arrays))


def load(model, data):
    model.clone().__setstate__({"parameters": model.__getstate__()["parameters"], "learned": data})


@pytest.mark.parametrize("data", [b"garbage", pack({}, {})])
def test_garbage_is_refused(learned, data) -> None:
    with pytest.raises(tm.ModelError):
        load(learned, data)


def test_a_cut_off_artefact_is_refused(learned) -> None:
    artefact = dump_model(learned)
    cut = Artefact(artefact.data[:-40], "pickle")
    with pytest.raises(tm.ModelError):
        load_model(cut, cut.sha256)


def test_every_array_of_the_forest_is_stored_or_made_anew() -> None:
    stored = {*forest_state.BY_NODE, *forest_state._WHOLE}
    assert set(forest_state.Trees._fields) - stored == {"poisson"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fits": 0}, "at least 1"),
        ({"period": 0}, "at least 1"),
        ({"classes": ["a"]}, "two different"),
        ({"classes": ["a", "a"]}, "two different"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(given, said) -> None:
    with pytest.raises(tm.DeclarationError, match=said):
        tm.AdaptiveClassifier(**given)


def test_it_has_to_know_its_classes(learned) -> None:
    with pytest.raises(tm.ModelError, match=r"say classes"):
        tm.AdaptiveClassifier().learn_one({"x": 1.0}, True)
    with pytest.raises(tm.ModelError, match="expected a label"):
        learned.clone().learn_one({"x": 1.0}, "middling")
    assert tm.AdaptiveClassifier().for_classes((False, True)).classes == (False, True)
    with pytest.raises(tm.DeclarationError, match="leave them out"):
        learned.for_classes((False, True))
    with pytest.raises(tm.DeclarationError, match="is a number"):
        learned.for_classes(())
