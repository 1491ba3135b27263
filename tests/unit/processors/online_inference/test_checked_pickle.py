import functools
import os
import pickle
import sys

import pytest
from river import compose, ensemble, forest, linear_model, multiclass, naive_bayes, neighbors, preprocessing, tree

from tidemill.processors.online_inference.artefact import dump_model, load_model
from tidemill.processors.online_inference.checked_pickle import load_checked
from tidemill.schemas.errors import ModelError

ROWS = [({"a": n % 7 / 3, "b": n % 11 / 5, "kind": f"k{n % 3}"}, (n * n) % 7 > n % 11 - 5) for n in range(200)]
MODELS = [
    (
        (compose.SelectType(str) | preprocessing.OneHotEncoder())
        + (compose.SelectType(float) | preprocessing.StandardScaler())
    )
    | linear_model.LogisticRegression(),
    compose.SelectType(float) | linear_model.SoftmaxRegression(),
    compose.SelectType(float) | multiclass.OneVsRestClassifier(linear_model.LogisticRegression()),
    compose.SelectType(float) | naive_bayes.GaussianNB(),
    compose.SelectType(float) | neighbors.KNNClassifier(),
    tree.HoeffdingTreeClassifier(grace_period=20),
    tree.HoeffdingAdaptiveTreeClassifier(grace_period=20, seed=1),
    forest.ARFClassifier(n_models=2, grace_period=20, seed=1),
    compose.SelectType(float) | forest.AMFClassifier(n_estimators=2, seed=1),
    ensemble.LeveragingBaggingClassifier(tree.HoeffdingTreeClassifier(grace_period=20), n_models=2, seed=1),
    ensemble.SRPClassifier(n_models=2, seed=1),
]


def learned(model, rows=ROWS):
    for row, label in rows:
        model.learn_one(row, label)
    return model


def answers(model):
    return [model.predict_proba_one(row) for row, _ in ROWS]


@pytest.mark.parametrize(
    "model", MODELS, ids=lambda model: list(vars(model).get("steps", {type(model).__name__: 0}))[-1]
)
def test_rivers_models_come_back_to_the_last_bit_without_anyones_trust(model):
    model = learned(model.clone(), ROWS[:150])
    artefact = dump_model(model)
    found = load_model(artefact, artefact.sha256)
    assert answers(found) == answers(model)
    assert answers(learned(found, ROWS[150:])) == answers(learned(model, ROWS[150:]))


class Calls:
    def __init__(self, function, *arguments):
        self.given = function, arguments

    def __reduce__(self):
        return self.given


def bad(*opcodes):
    return b"\x80\x05" + b"".join(opcodes) + b"."


def named(module, name):
    return b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93"


@pytest.mark.parametrize(
    "data",
    [
        pickle.dumps(Calls(os.system, "touch ran")),
        pickle.dumps(Calls(eval, "1")),
        pickle.dumps(Calls(functools.partial, os.system)),
        pickle.dumps(Calls(getattr, linear_model.LogisticRegression(), "__class__")),
        bad(named("river.utils.rolling", "functools")),
        bad(named("river.base.base", "Base.clone")),
        bad(named("river.stream.cache", "Cache")),
        bad(named("river.datasets.base", "RemoteDataset")),
        bad(named("river.drift.datasets", "AirlinePassengers")),
        bad(named("river", "tree")),
        bad(named("os", "system")),
        pickle.dumps(compose.FuncTransformer(os.path.basename)),
        b"garbage",
        b"",
    ],
)
def test_nothing_else_is_loaded(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError):
        load_checked(data)
    assert not list(tmp_path.iterdir())


def test_a_class_keeps_its_attributes():
    before = dict(vars(linear_model.LogisticRegression))
    name = named("river.linear_model.log_reg", "LogisticRegression")
    # BUILD with a pair sets attributes, here the class's own.
    state = b"N}\x8c\x11predict_proba_one" + named("builtins", "dict") + b"s\x86"
    with pytest.raises(ModelError, match="made to harm"):
        load_checked(bad(name, state, b"b"))
    assert dict(vars(linear_model.LogisticRegression)) == before


def test_what_is_not_installed_is_named(monkeypatch):
    data = dump_model(learned(linear_model.LogisticRegression(), [({"x": 1.0}, True)])).data
    for name in [name for name in sys.modules if name.split(".")[0] == "river"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "river", None)
    with pytest.raises(ModelError, match=r"pip install 'tidemill\[online\]'"):
        load_checked(data)
