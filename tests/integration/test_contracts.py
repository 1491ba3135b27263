"""Contracts: published under their fingerprint, and guarded when they change."""

import json

import pytest

from tidemill.loading import load_pipeline
from tidemill.schemas.contract import Contract

OLD = {
    "type": "record",
    "name": "Tide",
    "fields": [{"name": "height", "type": "double"}, {"name": "port", "type": "string", "default": ""}],
}
WITH_DEFAULT = OLD | {"fields": [*OLD["fields"], {"name": "wind", "type": "int", "default": 0}]}
WITHOUT = OLD | {"fields": [*OLD["fields"], {"name": "wind", "type": "int"}]}
NARROWED = OLD | {"fields": [{"name": "height", "type": "int"}, OLD["fields"][1]]}


@pytest.fixture
def files(tmp_path):
    def write(**schemas):
        paths = []
        for name, schema in schemas.items():
            paths.append(str(tmp_path / f"{name}.avsc"))
            (tmp_path / f"{name}.avsc").write_text(schema if isinstance(schema, str) else json.dumps(schema))
        return paths

    return write


@pytest.fixture(scope="module")
def mill(make_mill):
    return make_mill()


def test_a_compatible_change(mill, files):
    assert "is full compatible with" in mill.cli("schemas", "check", *files(old=OLD, new=WITH_DEFAULT))


def test_an_incompatible_change_names_field_rule_and_direction(mill, files):
    said = mill.cli("schemas", "check", *files(old=OLD, new=WITHOUT), code=1)
    assert said.startswith("wind: READER_FIELD_MISSING_DEFAULT_VALUE (backward): ")


def test_the_mode_decides(mill, files):
    paths = files(old=OLD, new=NARROWED)
    mill.cli("schemas", "check", *paths, "--mode", "forward")
    said = json.loads(mill.cli("schemas", "check", *paths, "--mode", "backward", "--json", code=1))
    assert not said["compatible"]
    assert [(found["field"], found["direction"]) for found in said["incompatibilities"]] == [("height", "backward")]


def test_files_that_are_no_schemas(mill, files, tmp_path):
    assert "cannot be read as a schema" in mill.cli("schemas", "check", "nowhere.avsc", "nowhere.avsc", code=2)
    (broken,) = files(broken='{"type": "record"')
    assert mill.cli("schemas", "check", broken, broken, code=2).startswith(f"error: {broken}")


def test_contracts_are_published_under_their_fingerprint(mill):
    with mill.worker():
        mill.send([{"id": "o1", "customer": "c", "at": 0, "amount": 1.0, "shop": None}])
        mill.wait(1)
    messages = mill.read("schemas")
    texts = {m.key().decode(): m.value().decode() for m in messages if m.value().startswith(b"{")}
    current = {m.key().decode(): m.value().decode() for m in messages if not m.value().startswith(b"{")}
    for fingerprint, text in texts.items():
        assert Contract.parse(text).fingerprint_hex == fingerprint
    assert set(current) == {
        f"{mill.name}.{suffix}" for suffix in ("events", "validated", "features", "predictions", "labels")
    }
    for suffix in ("events", "validated", "features", "predictions"):
        fingerprint = bytes.fromhex(current[f"{mill.name}.{suffix}"])
        for message in mill.read(suffix):
            assert message.value()[:10] == b"\xc3\x01" + fingerprint


def test_schemas_show(mill):
    shown = json.loads(mill.cli("schemas", "show", mill.name, "--json"))
    assert {row["topic"] for row in shown} == {"events", "validated", "features", "predictions", "labels"}
    schema = json.loads(mill.cli("schemas", "show", mill.name, "events"))
    assert schema["tidemill"] == {"key": "customer", "time": "at", "id": "id"}


def test_a_start_with_an_incompatible_contract_is_refused(mill, make_mill):
    mill.declare(make_mill.source.replace("# more fields", '{"name": "till", "type": "int"},'))
    before = len(mill.read("schemas"))
    said = mill.cli("run", str(mill.file), code=1)
    assert f"{mill.name}.events" in said
    assert "till" in said
    assert "READER_FIELD_MISSING_DEFAULT_VALUE" in said
    assert len(mill.read("schemas")) == before


def test_a_compatible_change_goes_through_with_old_and_new_producers(mill, make_mill):
    """The pipeline is started with a new field; who knows only the old contract goes on sending."""
    mill.declare(make_mill.source)
    old = mill.codec_of_events()
    changed = '{"name": "till", "type": ["null", "int"], "default": None},'
    source = make_mill.source.replace("# more fields", changed).replace("# more features", 'tm.fields("till"),')
    mill.declare(source)
    new = mill.codec_of_events()
    row = {"customer": "c", "at": 0, "amount": 1.0, "shop": None}
    with mill.worker():
        mill.produce([(b"c", old.encode_rows([row | {"id": "old"}])[0])])
        mill.produce([(b"c", new.encode_rows([row | {"id": "new", "till": 7}])[0])])
        mill.produce([(b"c", old.encode_rows([row | {"id": "old again"}])[0])])
        mill.send([row | {"id": "by the client", "till": 8}])
        mill.wait(5)
    rows = {row["event_id"]: row["till"] for row in mill.rows("features")}
    assert rows == {"o1": None, "old": None, "new": 7, "old again": None, "by the client": 8}
    assert mill.audit()["holds"]


def test_features_may_come_and_go(make_mill):
    """A feature more, a window with other aggregates, a feature less: the pipeline starts, and windows begin anew."""
    mill = make_mill()
    row = {"customer": "c", "at": 0, "amount": 1.0, "shop": None}
    with mill.worker():
        mill.send([row | {"id": "1"}])
        mill.wait(1)
    source = make_mill.source.replace('largest=tm.max("amount")', 'mean=tm.mean("amount")')
    source = source.replace("# more features", "tm.expression(double=pl.col('amount') * 2),")
    mill.declare(source)
    with mill.worker():
        mill.send([row | {"id": "2"}, row | {"id": "3"}])
        mill.wait(3)
    rows = {row["event_id"]: row for row in mill.rows("features")}
    assert [rows[name]["double"] for name in "23"] == [2.0, 2.0]
    assert [rows[name]["mean"] for name in "23"] == [None, 1.0]
    assert "largest" not in rows["3"]
    assert mill.audit()["holds"]
    version = load_pipeline(str(mill.file)).plan().version
    assert rows["1"]["pipeline_version"] != rows["2"]["pipeline_version"] == version
