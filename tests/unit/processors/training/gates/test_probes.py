import numpy as np
import pyarrow as pa
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from tidemill.processors.frames import to_model_frame
from tidemill.processors.online_inference import Target
from tidemill.processors.online_inference.scorer import Scorer
from tidemill.processors.training.gates import probe
from tidemill.processors.training.gates.probes import UNSEEN, extremes
from tidemill.processors.training.gates.resampling import generator

CLASSES = Target((False, True))


def rows(count=300):
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "x": pa.array(rng.normal(size=count)),
            "distance": pa.array(rng.integers(80, 5_000, count)),
            "carrier": pa.array(rng.choice(["AA", "UA"], count)),
            "gate": pa.array([None if n % 10 == 0 else "A" for n in range(count)]),
            "other": pa.array(rng.random(count)),
        }
    )


def tried(model, names=("x", "distance")):
    return probe(Scorer(model, CLASSES), names, rows(), generator(0, "probe"))


def fitted(handle_unknown):
    encoder = OneHotEncoder(handle_unknown=handle_unknown)
    model = make_pipeline(
        make_column_transformer((encoder, ["carrier"]), remainder="passthrough"), LogisticRegression(max_iter=1_000)
    )
    given = to_model_frame(rows(), ["x", "carrier"])
    return model.fit(given, given["x"] > 0)


def test_a_good_model():
    given = to_model_frame(rows(), ["x", "distance"])
    made = tried(LogisticRegression(max_iter=1_000).fit(given, given["x"] > 0))
    assert (made.scored, made.failed, made.extremes_failed, made.differing) == (300, 0, 0, 0)
    assert made.extremes > 20
    assert made.compared == 48 + 300 + 300


def test_unseen_categories():
    assert tried(fitted("ignore"), ("x", "carrier")).extremes_failed == 0
    made = tried(fitted("error"), ("x", "carrier"))
    assert made.failed == 0
    assert made.extremes_failed > 0
    assert "Found unknown categories" in made.complaint


class Model:
    """Answers by a function of a frame."""

    def __init__(self, answer):
        self.answer = answer

    def predict_proba(self, frame):
        second = self.answer(frame)
        return np.column_stack([1 - second, second])


def test_a_model_that_looks_at_the_other_rows():
    def ranked(frame):
        return (frame["x"].rank() / len(frame)).to_numpy()

    made = tried(Model(ranked))
    assert made.differing > 0


def test_a_model_that_remembers():
    calls = []

    def counting(frame):
        calls.append(1)
        return np.full(len(frame), 1 / (1 + len(calls)))

    assert tried(Model(counting)).differing > 0


def test_a_model_that_fails_on_some_rows():
    def picky(frame):
        if (frame["distance"] > 4_900).any():
            raise KeyError("too far")
        return np.full(len(frame), 0.5)

    made = tried(Model(picky))
    assert 0 < made.failed < 300
    assert made.complaint == "the model raised KeyError: 'too far'"


def test_nan_is_a_failure():
    made = tried(Model(lambda frame: np.full(len(frame), np.nan)))
    assert made.failed == 300


def test_extremes_are_rows_that_may_come():
    given = rows()
    made = extremes(given, generator(0, "x"))
    assert made.schema.equals(given.schema)
    assert UNSEEN in made["carrier"].to_pylist()
    assert "" in made["carrier"].to_pylist()
    # Nulls only where there are some; signs as they have always been.
    assert [name for name in made.column_names if made[name].null_count] == ["gate"]
    assert min(made["distance"].to_pylist()) < 80
    assert min(made["distance"].to_pylist()) > 0
    assert max(made["distance"].to_pylist()) > 40_000
    assert min(made["x"].to_pylist()) < -20
    assert extremes(given.slice(0, 0), generator(0, "x")).num_rows == 0


def test_extremes_stay_in_the_columns_type():
    given = pa.table(
        {"small": pa.array([100, -120], pa.int8()), "flag": [True, False], "void": pa.nulls(2, pa.int32())}
    )
    made = extremes(given, generator(0, "x"))
    assert made.schema.equals(given.schema)
    assert {-128, 127} <= set(made["small"].to_pylist())


def test_no_rows():
    made = probe(Scorer(Model(lambda frame: np.zeros(len(frame))), CLASSES), ["x"], rows(0), generator(0, "x"))
    assert made.scored == made.compared == made.extremes == 0
