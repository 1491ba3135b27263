import hashlib
import io
import json
import os
import pickle
import re
import zipfile
from pathlib import Path

import pytest
import skops.io
from river import linear_model as river_models
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from tidemill.processors.online_inference import Artefact, dump_model, load_model
from tidemill.schemas.errors import ModelError

X, Y = [[0.0], [1.0], [2.0], [3.0]] * 10, [False, False, True, True] * 10


class Touch:
    """Creates a file when a pickle of it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Sneaky(LogisticRegression):
    """Creates a file when skops puts its state back."""

    def __setstate__(self, state):
        Path(state["path"]).mkdir()
        self.__dict__.update(state)


class Unpicklable:
    """Neither skops nor pickle can store it."""

    def __init__(self):
        self.call = lambda row: row


def artefact_of(data, kind):
    return Artefact(data, kind), hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "model",
    [
        make_pipeline(StandardScaler(), LogisticRegression()),
        make_pipeline(make_column_transformer((OneHotEncoder(), [0])), LinearRegression()),
        HistGradientBoostingClassifier(max_iter=3),
    ],
    ids=lambda model: type(model).__name__,
)
def test_scikit_learn_models_go_through_skops_without_anyones_trust(model):
    model = model.fit(X, Y)
    made = dump_model(model)
    assert made.format == "skops"
    assert made.sha256 == hashlib.sha256(made.data).hexdigest()
    assert load_model(made, made.sha256).predict(X).tolist() == model.predict(X).tolist()


class Cautious(river_models.LogisticRegression):
    """More than River's own."""


def test_models_of_ones_own_that_learn_row_by_row_need_trust():
    model = Cautious()
    model.learn_one({"x": 1.0}, True)
    made = dump_model(model)
    with pytest.raises(ModelError, match=f"Cautious; if .* --trust-model {made.sha256}"):
        load_model(made, made.sha256)
    loaded = load_model(made, made.sha256, trusted=[made.sha256.upper()])
    assert loaded.predict_proba_one({"x": 1.0}) == model.predict_proba_one({"x": 1.0})


def test_what_skops_cannot_store_becomes_a_pickle():
    made = dump_model(re.compile("a"))
    assert made.format == "pickle"
    assert load_model(made, made.sha256, trusted=[made.sha256]) == re.compile("a")


def test_what_nobody_can_store_is_refused():
    with pytest.raises(ModelError, match="expected a model that skops or pickle can store, got Unpicklable"):
        dump_model(Unpicklable())


@pytest.mark.parametrize("trust", [False, True])
def test_tampered_bytes_are_refused_before_anything_is_loaded(tmp_path, trust):
    good = pickle.dumps("a model")
    evil = Artefact(pickle.dumps(Touch(tmp_path / "ran")), "pickle")
    announced = hashlib.sha256(good).hexdigest()
    with pytest.raises(ModelError, match="it was altered, do not use it"):
        load_model(evil, announced, trusted=[announced] if trust else [])
    assert not (tmp_path / "ran").exists()


def test_no_code_of_a_pickle_runs_unless_its_hash_is_trusted(tmp_path):
    evil, sha256 = artefact_of(pickle.dumps(Touch(tmp_path / "ran")), "pickle")
    for trusted in ([], ["0" * 64], [sha256[:12]]):
        with pytest.raises(ModelError, match="can run any code when it is loaded"):
            load_model(evil, sha256, trusted)
    assert not (tmp_path / "ran").exists()
    # The proof that it would have run.
    load_model(evil, sha256, [sha256])
    assert (tmp_path / "ran").exists()


def test_a_pickle_that_calls_itself_skops_is_not_unpickled(tmp_path):
    evil, sha256 = artefact_of(pickle.dumps(Touch(tmp_path / "ran")), "skops")
    with pytest.raises(ModelError, match="not a skops file that can be loaded here"):
        load_model(evil, sha256, [sha256])
    assert not (tmp_path / "ran").exists()


def test_no_code_of_an_untrusted_type_in_a_skops_file_runs(tmp_path):
    model = Sneaky()
    model.path = str(tmp_path / "ran")
    evil, sha256 = artefact_of(skops.io.dumps(model), "skops")
    with pytest.raises(ModelError, match=rf"not known to be harmless: .*Sneaky; .*--trust-model {sha256}"):
        load_model(evil, sha256)
    assert not (tmp_path / "ran").exists()
    load_model(evil, sha256, [sha256])
    assert (tmp_path / "ran").exists()


def node(loader, module, name, **more):
    """A node of a skops file, as an attacker writes it."""
    return {"__class__": name, "__module__": module, "__loader__": loader, "__id__": 1, **more}


def text(value):
    return node("JsonNode", "builtins", "str", content=json.dumps(value), is_json=True)


def items(kind, *nodes):
    return node(f"{kind.title()}Node", "builtins", kind, content=list(nodes))


NOTHING = node("DictNode", "builtins", "dict", content={}, key_types=items("list"))
ATTACKS = {
    "a function": lambda path: node("FunctionNode", "os", "mkdir", content={}),
    "a type": lambda path: node("TypeNode", "os", "mkdir"),
    "an object": lambda path: node("ObjectNode", "os", "mkdir", content=text(path)),
    "a partial": lambda path: node(
        *("PartialNode", "functools", "partial"),
        content={
            "func": node("FunctionNode", "os", "mkdir", content={}),
            "args": items("tuple", text(path)),
            "kwds": NOTHING,
            "namespace": NOTHING,
        },
    ),
    "a constructor": lambda path: node("ConstructorFromReduceNode", "os", "mkdir", content=[text(path)]),
    "an operator": lambda path: node("OperatorFuncNode", "operator", "call", attrs=items("tuple", text(path))),
    "a method": lambda path: node(
        "MethodNode", "pathlib", "Path", content={"obj": node("ObjectNode", "pathlib", "Path"), "func": "mkdir"}
    ),
    "a module of the attacker's": lambda path: node("ObjectNode", "attack", "Estimator", content=text(path)),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("inside", [False, True], ids=["as the model", "inside a model"])
def test_a_skops_file_that_names_a_function_runs_nothing(tmp_path, monkeypatch, attack, inside):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "attack.py").write_text("import os; os.mkdir('ran')")
    evil = ATTACKS[attack](str(tmp_path / "ran"))
    if inside:
        with zipfile.ZipFile(io.BytesIO(skops.io.dumps(LogisticRegression()))) as sound:
            schema = json.loads(sound.read("schema.json"))
        schema["content"]["content"]["C"] = evil
    else:
        schema = evil | {"protocol": 2, "_skops_version": skops.__version__}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("schema.json", json.dumps(schema))
    crafted, sha256 = artefact_of(file.getvalue(), "skops")
    with pytest.raises(ModelError, match=r"not known to be harmless|not a skops file that can be loaded here"):
        load_model(crafted, sha256)
    assert not (tmp_path / "ran").exists()


def test_every_changed_byte_is_found():
    made = dump_model(LogisticRegression().fit(X, Y))
    for place in range(0, len(made.data), 101):
        changed = bytearray(made.data)
        changed[place] ^= 1
        with pytest.raises(ModelError, match="it was altered"):
            load_model(Artefact(bytes(changed), "skops"), made.sha256, trusted=[made.sha256])


@pytest.mark.parametrize("kind", ["skops", "pickle"])
@pytest.mark.parametrize("data", [b"", b"no model", b"PK\x03\x04", pickle.dumps(Y)[:-3]])
def test_bytes_that_are_no_model_are_a_model_error(kind, data):
    broken, sha256 = artefact_of(data, kind)
    with pytest.raises(ModelError, match="can be loaded here"):
        load_model(broken, sha256, [sha256])


def test_another_format_is_refused():
    other, sha256 = artefact_of(b"x", "onnx")
    with pytest.raises(ModelError, match="expected a model stored as skops or pickle, got 'onnx'"):
        load_model(other, sha256, [sha256])
