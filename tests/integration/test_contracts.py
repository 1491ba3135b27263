"""Contracts: published under their fingerprint, and guarded when they change."""

import json
import time

import pytest

from tidemill.loading import load_pipeline
from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.publisher import Publisher

OLD = {
    "type": "record",
    "name": "Tide",
    "fields": [{"name": "height", "type": "double"}, {"name": "port", "type": "string", "default": ""}],
}
WITH_DEFAULT = OLD | {"fields": [*OLD["fields"], {"name": "wind", "type": "int", "default": 0}]}
WITHOUT = OLD | {"fields": [*OLD["fields"], {"name": "wind", "type": "int"}]}
NARROWED = OLD | {"fields": [{"name": "height", "type": "int"}, OLD["fields"][1]]}

CONTRACTS = {"events", "validated", "features", "predictions", "shadow-predictions", "labels", "outcomes", "models"}


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
    assert set(current) == {f"{mill.name}.{suffix}" for suffix in CONTRACTS}
    for suffix in ("events", "validated", "features", "predictions"):
        fingerprint = bytes.fromhex(current[f"{mill.name}.{suffix}"])
        for message in mill.read(suffix):
            assert message.value()[:10] == b"\xc3\x01" + fingerprint


def test_schemas_show(mill):
    shown = json.loads(mill.cli("schemas", "show", mill.name, "--json"))
    assert {row["topic"] for row in shown} == CONTRACTS
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


PLAIN = {
    "id": "string",
    "customer": ["null", "string"],
    "at": {"type": "long", "logicalType": "timestamp-micros"},
    "amount": "double",
    "shop": ["null", "string"],
}


def written_with(fields, **renamed):
    """A producer's own schema of an order, of these fields; a codec that writes it."""
    declared = [{"name": renamed.get(name, name), "type": kind} for name, kind in fields.items()]
    theirs = Contract.parse({"type": "record", "name": "Order", "namespace": "shop", "fields": declared})
    return Codec(theirs, KnownSchemas()), theirs


def test_producers_of_every_age_are_mixed_while_the_pipeline_runs(make_mill):
    """A field more, a field less, another name, a narrower type; one schema comes late, and one never."""
    mill = make_mill()
    source = make_mill.source.replace('"name": "amount"', '"name": "amount", "aliases": ["price"]')
    mill.declare(source.replace('id="id")', 'id="id", schema_wait="3s")', 1))
    ages = {
        "more": written_with(PLAIN | {"colour": "string"}),
        "less": written_with({name: kind for name, kind in PLAIN.items() if name != "shop"}),
        "renamed": written_with(PLAIN, amount="price"),
        "narrow": written_with(PLAIN | {"amount": "int"}),
        "late": written_with(PLAIN | {"size": "int"}),
        "never": written_with(PLAIN | {"secret": "int"}),
    }
    own = mill.codec_of_events()
    row = {"customer": "c", "at": 0, "amount": 5, "shop": "A", "price": 5, "colour": "red", "size": 1, "secret": 1}

    def value(age, number):
        codec, theirs = ages.get(age, (own, own._reader))
        return codec.encode_rows(
            [{n: v for n, v in (row | {"id": f"{age}{number}"}).items() if n in theirs.arrow.names}]
        )[0]

    publisher = Publisher(Connection(mill.bootstrap_servers))

    def publish(age):
        _, theirs = ages[age]
        publisher.send(f"{mill.name}.schemas", theirs.fingerprint_hex.encode(), theirs.text.encode(), partition=0)
        publisher.flush()

    with mill.worker():
        mill.produce([(b"c", value("own", 0))])
        mill.wait(1)
        for age in ("more", "less", "renamed", "narrow"):
            publish(age)
        mill.produce([(b"c", value(age, n)) for n in range(5) for age in ("own1", "more", "less", "renamed", "narrow")])
        mill.wait(26)
        mill.produce([(b"c", value("late", 0))])
        time.sleep(0.5)  # The schema comes after the event, not at once: that is what is tested.
        publish("late")
        mill.wait(27)
        mill.produce([(b"c", value("never", 0)), (b"c", value("own", 2))])
        mill.wait(29)
    features = {row["event_id"]: row for row in mill.rows("features")}
    assert len(features) == 28
    assert {row["amount"] for row in features.values()} == {5.0}
    assert features["less0"]["city"] is None
    assert features["late0"]["city"] == features["renamed4"]["city"] == "Aachen"
    ((place, answer),) = [(place, a) for place, (a,) in mill.answers.items() if a.rejection]
    assert (place, answer.rejection["reason"]) == ((0, 27), "unknown_schema")
    assert mill.audit()["holds"]
    # Once the schema is there, the event goes through again.
    publish("never")
    mill.cli("rejected", "retry", mill.name, "--reason", "unknown_schema")
    with mill.worker():
        mill.wait(30)
    assert {row["event_id"] for row in mill.rows("features")} - set(features) == {"never0"}


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
