import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression

import tidemill as tm
from tidemill.schemas.errors import DeclarationError, SchemaError, TidemillError

TEXT = ["null", "string"]


def version(pipeline):
    return pipeline.plan().version


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "1st"}, "pipeline '1st': expected a letter"),
        ({"name": "tides.new"}, "pipeline 'tides.new': expected a letter"),
        ({"name": ""}, "pipeline '': expected a letter"),
        ({"partitions": 0}, "expected at least one partition, got 0"),
        ({"retention": "soon"}, "expected a duration"),
        ({"events": {"key": "staton"}}, "has no field 'staton'; did you mean 'station'?"),
        ({"events": {"time": "att"}}, "has no field 'att'; did you mean 'at'?"),
        ({"events": {"id": "ids"}}, "has no field 'ids'; did you mean 'id'?"),
        ({"events": {"id": "station"}}, "Reading.station is the events' id and must not be nullable"),
        ({"events": {"time": "due"}}, "Reading.due is the events' time and must not be nullable"),
        ({"events": {"time": "id"}}, "Reading.id is the events' time: expected a timestamp, got string"),
        ({"events": {"key": "height"}}, "Reading.height: expected text or an integer for a key or id, got double"),
        ({"events": {"nan": "drop"}}, "nan must be 'reject', 'null' or 'allow', not 'drop'"),
        ({"checks": [tm.present("hight")]}, "has no field 'hight'; did you mean 'height'?"),
        ({"features": [tm.fields("hight")]}, "no field 'hight'; did you mean 'height'?"),
        ({"features": [tm.expression(x=pl.col("hight") + 1)]}, "'hight'"),
        ({"features": [tm.lookup("planes", on=["station"], columns=["x"])]}, "no such table"),
        ({"features": [tm.window("height", "1h", n=tm.count())]}, "'height' is double; expected a string"),
        (
            {"model": tm.Model(LogisticRegression(), ["sen"])},
            "feature 'sen' that is not declared; did you mean 'seen'?",
        ),
        ({"model": tm.Model(LogisticRegression(), [])}, "name at least one feature"),
        ({"model": tm.Model(LogisticRegression(), ["event_time"])}, "'event_time' is timestamp"),
        ({"model": tm.Model(LogisticRegression(), ["height"], deadline="2m")}, "expected at most 60 s, got '2m'"),
        ({"model": tm.Model(LogisticRegression(), ["height"], prior=2)}, "add up to 1"),
        ({"labels": None}, "declares a model but no labels"),
        ({"retrain": tm.Retrain(floor={"mae": 1.0})}, "no 'mae' of 2 classes"),
        ({"rollout": tm.Rollout(metric="absolute_error")}, "no 'absolute_error' of classes; known: accuracy, log_loss"),
    ],
)
def test_what_cannot_be_is_refused(declare, changed, words):
    with pytest.raises(TidemillError) as error:
        declare(**changed).plan()
    assert isinstance(error.value, DeclarationError | SchemaError)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ({"label": pl.col("ovr") > 0}, "the label cannot be computed from Flood"),
        ({"id": "idd"}, "Flood has no field 'idd'; did you mean 'id'?"),
        ({"within": "long"}, "expected a duration"),
        ({"label": pl.col("id")}, "declare its classes"),
        ({"classes": ["low"]}, "two and more"),
    ],
)
def test_labels_that_cannot_be_are_refused(declare, schemas, label, words):
    given = {"id": "id", "label": pl.col("over") > 0, **label}
    with pytest.raises(TidemillError) as error:
        declare(labels=tm.Labels(schemas("Flood", id="string", over="int"), **given)).plan()
    assert words in str(error.value)


def test_two_tables_of_one_name_are_refused(declare, tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("station,x\nN,1\n")
    tables = [tm.file_table("t", name, key=["station"]) for name in ("a.csv", "b.csv")]
    with pytest.raises(DeclarationError, match="two reference tables have the name 't'"):
        declare(tables=tables, base=tmp_path).plan()


def test_a_file_that_is_missing_is_named(declare, tmp_path):
    with pytest.raises(DeclarationError, match=r"gone\.csv"):
        declare(tables=[tm.file_table("t", "gone.csv", key=["station"])], base=tmp_path).plan()


def test_a_field_name_that_the_engine_needs_is_refused(declare, schemas):
    clash = schemas(
        "Event", id="string", station=TEXT, at={"type": "long", "logicalType": "timestamp-millis"}, source_offset="long"
    )
    with pytest.raises(SchemaError, match="source_offset"):
        declare(contract=clash, checks=[], features=[], model=None, labels=None).plan()


def test_the_contracts_of_its_topics(declare):
    plan = declare().plan()
    assert set(plan.contracts) == {
        "events",
        "validated",
        "features",
        "predictions",
        "shadow-predictions",
        "labels",
        "outcomes",
    }
    assert plan.contracts["events"].schema["tidemill"] == {"key": "station", "time": "at", "id": "id"}
    assert plan.contracts["validated"].arrow.names[-2:] == ["source_partition", "source_offset"]
    assert plan.contracts["features"].arrow.names[-2:] == ["height", "seen"]
    assert plan.contracts["predictions"].arrow.names[-3:] == ["value", "probability_false", "probability_true"]
    assert len({contract.fingerprint for contract in plan.contracts.values()}) == 7


def test_what_is_said_of_models_has_published_contracts_as_well(declare):
    plan = declare().plan()
    assert set(plan.published) - set(plan.contracts) == {"models"}
    plan = declare(drift=[tm.data_drift()]).plan()
    assert set(plan.published) - set(plan.contracts) == {"models", "drift-alerts", "alert-actions"}
    plan = declare(retrain=tm.Retrain()).plan()
    said = {"retrain-requests", "retrain-triggers", "training-jobs"}
    assert set(plan.published) - set(plan.contracts) == {"models", "drift-alerts", "alert-actions"} | said


def test_without_a_model_and_labels(declare):
    plan = declare(model=None, labels=None).plan()
    assert "labels" not in plan.contracts
    assert plan.target.classes == ()


def test_a_regression(declare, schemas):
    labels = tm.Labels(schemas("Flood", id="string", over="double"), id="id", label=pl.col("over") * 2)
    plan = declare(labels=labels, model=tm.Model(LinearRegression(), ["height"], prior=1.5)).plan()
    assert plan.contracts["predictions"].arrow.names[-1] == "value"
    assert plan.target.prior_row() == (1.5, [])


def test_a_regressions_models_are_not_compared_by_classes(declare, schemas):
    labels = tm.Labels(schemas("Flood", id="string", over="double"), id="id", label=pl.col("over") * 2)
    model = tm.Model(LinearRegression(), ["height"], prior=1.5)
    with pytest.raises(DeclarationError, match="no 'log_loss' of a number; known: absolute_error"):
        declare(labels=labels, model=model, rollout=tm.Rollout(metric="log_loss")).plan()


def test_the_plan_is_made_once(declare):
    pipeline = declare(partitions=7, retention="2d")
    plan = pipeline.plan()
    assert pipeline.plan() is plan
    assert (plan.partitions, plan.retention_ms, plan.name) == (7, 2 * 86_400_000, "tides")
    assert (plan.event_id, plan.event_key) == ("id", "station")


def test_paths_are_relative_to_the_file_that_declares(tmp_path, monkeypatch):
    folder = tmp_path / "somewhere"
    folder.mkdir()
    (folder / "event.avsc").write_text(
        json.dumps({"type": "record", "name": "E", "fields": [{"name": "id", "type": "string"}]})
    )
    source = "import tidemill as tm\np = tm.Pipeline('p', tm.Events('event.avsc', key='id', time='id', id='id'))\n"
    monkeypatch.chdir(tmp_path)
    scope = {"__file__": str(folder / "pipeline.py")}
    exec(compile(source, "pipeline.py", "exec"), scope)
    assert scope["p"].base == folder
    assert scope["p"].contract.name == "E"


def test_paths_are_relative_to_base_where_it_is_given(declare, tmp_path):
    (tmp_path / "t.csv").write_text("station,x\nN,1\n")
    for base in (tmp_path, str(tmp_path)):
        declare(tables=[tm.file_table("t", "t.csv", key=["station"])], base=base).plan()


def test_without_a_file_paths_are_relative_to_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    schema = {"type": "record", "name": "E", "fields": [{"name": "id", "type": "string"}]}
    scope = {"tm": tm, "schema": schema}
    exec("p = tm.Pipeline('p', tm.Events(schema, key='id', time='id', id='id'))", scope)
    assert scope["p"].base == Path(tmp_path)


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "tides2"},
        {"events": {"nan": "null"}},
        {"events": {"key": "id"}, "features": []},
        {"checks": []},
        {"checks": [tm.between("height", 0, 8)]},
        {"checks": [tm.between("height", 0, 9, on_failure="warn")]},
        {"checks": [tm.between("height", 0, 9), tm.unique("1d")]},
        {"features": [tm.fields("height"), tm.window("station", "2h", seen=tm.count())]},
        {"features": [tm.fields("height"), tm.window("station", "1h", seen=tm.count("height"))]},
        {"features": [tm.fields("height"), tm.expression(seen=pl.col("height") * 2)]},
    ],
)
def test_the_version_changes_with_what_decides_about_features(declare, changed):
    base = {"features": []} if "features" in changed and not changed["features"] else {}
    model = None if base else tm.Model(LogisticRegression(), ["height", "seen"])
    assert version(declare(**{**base, **changed}, model=model)) != version(declare(**base, model=model))


def test_the_version_changes_with_the_contract_and_with_a_tables_content(declare, schemas, tmp_path):
    with_doc = {**json.loads(declare().contract.text), "doc": "Readings."}
    with_doc.pop("tidemill")
    assert version(declare(contract=with_doc)) != version(declare())
    table = tm.file_table("t", "t.csv", key=["station"])
    found = []
    for content in ("station,x\nN,1\n", "station,x\nN,2\n", "station,x\nN,1\n"):
        (tmp_path / "t.csv").write_text(content)
        found.append(version(declare(tables=[table], base=tmp_path)))
    assert found[0] != found[1]
    assert found[0] == found[2]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"model": tm.Model(LogisticRegression(C=9), ["seen"], prior=0.1)},
        {"model": None},
        {"partitions": 9, "retention": "1d"},
        {"base": "/"},
    ],
)
def test_the_version_does_not_change_otherwise(declare, changed):
    assert version(declare(**changed)) == version(declare())


def test_where_a_table_lies_does_not_matter(declare, tmp_path):
    found = set()
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text("station,x\nN,1\n")
        table = tm.file_table("t", name, key=["station"])
        lookup = tm.lookup(table, on=["station"], columns=["x"])
        found.add(version(declare(features=[lookup], model=None, base=tmp_path)))
    assert len(found) == 1


def test_late_events_can_be_flagged_and_the_flag_be_a_feature(declare):
    pipeline = declare(
        checks=[tm.not_late("10s", on_failure="flag")],
        features=[tm.fields("too_late"), tm.expression(punctual=~pl.col("too_late"))],
        model=None,
    )
    plan = pipeline.plan()
    assert plan.contracts["validated"].field("too_late").nullable is False
    assert [plan.contracts["features"].arrow.field(name).type for name in ("too_late", "punctual")] == [pa.bool_()] * 2
    assert "too_late" not in plan.contracts["events"].arrow.names


def test_drift_is_watched_if_it_is_declared(declare):
    assert declare().plan().watch is None
    watched = declare(drift=[tm.data_drift(), tm.concept_drift()]).plan()
    judge = watched.watch.make_judge(lambda version: {})
    assert judge.outcomes([]) == []
    assert f"{watched.name}.drift-alerts" in {spec.name for spec in watched.topics()}
    assert declare(drift=[]).plan().watch is None


def test_by_default_all_is_looked_for_that_there_is_something_for(declare, schemas):
    assert declare().drift == ()
    kinds = [drift.kind for drift in declare(profiles=tm.Profiles()).drift]
    assert kinds[-1] == "concept_drift"
    assert len(kinds) >= 5
    assert declare(profiles=tm.Profiles(), drift=()).drift == ()
    assert declare(profiles=tm.Profiles()).plan().watch is not None
    assert declare(drift=[tm.missing_rate()]).drift == (tm.missing_rate(),)


def test_drift_of_a_feature_that_the_model_does_not_have_is_refused(declare):
    with pytest.raises(DeclarationError, match="data_drift names a column 'nothing'"):
        declare(drift=[tm.data_drift(columns=["nothing"])]).plan()
