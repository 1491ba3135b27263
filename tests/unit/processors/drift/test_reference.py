import json

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

from tidemill.processors.drift import reference_profiles, slices_of, summary, write_reference
from tidemill.processors.online_inference import Artefact, Target, dump_model, load_model
from tidemill.processors.parts import joined
from tidemill.processors.training import fit
from tidemill.schemas.errors import ModelError

LATE = Target((False, True))


def rows(seed, count=200):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=count)
    return pa.table(
        {
            "event_time": pa.array(np.arange(count) * 1_000_000 + seed, pa.timestamp("us", "UTC")),
            "source_partition": pa.array(np.zeros(count), pa.int32()),
            "source_offset": np.arange(count),
            "x": x,
            "origin": rng.choice(["JFK", "EWR"], count),
            "label": rng.random(count) < 1 / (1 + np.exp(-2 * x)),
        }
    )


def trained(**options):
    return fit(LogisticRegression(), ["x"], LATE, rows(1), rows(2, 100), pipeline="flights", **options)


def test_the_reference_travels_in_the_artefact():
    made = trained()
    bare = dump_model(made.model)
    artefact = bare.with_reference(write_reference(made.profiles))
    assert artefact.sha256 != bare.sha256
    assert load_model(artefact, artefact.sha256).coef_.tolist() == made.model.coef_.tolist()
    found = reference_profiles(artefact.data)
    assert list(found) == [("features", ""), ("predictions", ""), ("outcomes", "")]
    features, predictions, outcomes = found.values()
    assert (features.scope.pipeline, features.rows, features.offsets) == ("flights", 200, {0: (0, 199)})
    assert (features.scope.window_start, features.scope.window_end) == (0, 199_001)
    assert features.numbers["x"].mean == pytest.approx(np.mean(rows(1)["x"]))
    assert predictions.numbers["probability_true"].count == predictions.categories["value"].count == 100
    figures = outcomes.quality.metrics()
    assert {name: figures[name] for name in ("log_loss", "accuracy")} == pytest.approx(
        {name: made.metrics[name] for name in ("log_loss", "accuracy")}
    )
    assert figures["auc"] == pytest.approx(made.metrics["auc"], abs=0.01)
    # Another reference takes its place.
    assert artefact.with_reference(b"").model == bare.data


def test_a_reference_by_slice():
    found = reference_profiles(joined(write_reference(trained(slices=["origin"]).profiles), b""))
    assert sorted(found) == sorted(
        (kind, of) for kind in ("features", "predictions", "outcomes") for of in ("", "origin=EWR", "origin=JFK")
    )
    for kind in ("features", "outcomes"):
        assert found[kind, ""].rows == found[kind, "origin=EWR"].rows + found[kind, "origin=JFK"].rows


def test_of_a_regression():
    table = rows(1).set_column(5, "label", pa.array(np.arange(200.0)))
    made = fit(LinearRegression(), ["x"], Target(), table, table)
    found = {profile.kind: profile for profile in made.profiles}
    assert list(found["predictions"].numbers) == ["value"]
    assert found["outcomes"].quality.metrics()["mae"] == pytest.approx(made.metrics["mae"])


def test_without_rows_to_evaluate_on_there_are_features_alone():
    made = fit(LogisticRegression(), ["x"], LATE, rows(1), rows(2, 0))
    assert [profile.kind for profile in made.profiles] == ["features"]


def test_an_artefact_without_a_reference():
    old = dump_model(trained().model)
    assert reference_profiles(old.data) == {}
    assert old.model == old.data


def test_what_is_no_reference_is_refused():
    good = joined(write_reference(trained().profiles), b"model")
    with pytest.raises(ModelError, match="it was cut"):
        reference_profiles(good[:200])
    with pytest.raises(ModelError, match="it was cut"):
        load_model(cut := Artefact(good[:200], "skops"), cut.sha256)
    for garbage in (b"\x00\x00\x00\x05abcde", b"\x00\x00\x00\x01\xff", b"\x00\x00\xff\xffabc", b"\x00"):
        with pytest.raises(ModelError):
            reference_profiles(joined(garbage, b"model"))
    with pytest.raises(ModelError, match="profiles cannot be read"):
        reference_profiles(joined(write_reference(trained().profiles) + b"\x00\x00\x00\x03abc", b"model"))


def test_a_summary_is_json():
    told = [summary(profile) for profile in trained().profiles]
    assert json.loads(json.dumps(told)) == told
    features, predictions, outcomes = told
    assert features["columns"]["x"]["min"] <= features["columns"]["x"]["p50"] <= features["columns"]["x"]["max"]
    assert sum(predictions["columns"]["value"]["top"].values()) == 100
    assert outcomes["metrics"]["brier"] < 0.25


def test_the_most_frequent_slices():
    table = pa.table({"shop": [3, 1, 1, 2, 2, None]})
    assert [value for value, _ in slices_of(table, "shop", most=2)] == ["1", "2"]
