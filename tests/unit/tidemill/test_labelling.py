from datetime import UTC, datetime, timedelta

import polars as pl
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.labelling import assess_labels, gold_questions, read_labels, read_requests, request_labels, said
from tidemill.schemas.errors import DeclarationError
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.memory import MemoryReader, MemorySender

HOUR = timedelta(hours=1)


@pytest.fixture
def make(declare, schemas, tmp_path):
    """A driver of a pipeline whose labels come from several annotators."""

    def build(rules=None, *, fields=None, **roles):
        own = {"who": ["null", "string"], "over": ["null", "int"], "sure": ["null", "double"], **(fields or {})}
        labels = tm.Labels(
            schemas("Flood", id="string", **own),
            id="id",
            **{
                "label": pl.col("over") > 0,
                "annotator": "who",
                "confidence": "sure",
                "annotators": rules,
                **roles,
            },
        )
        model = tm.Model(LogisticRegression(), ["height"], prior=0.5)
        return tm.testing.Driver(declare(labels=labels, model=model, base=tmp_path))

    return build


def label(event, who, wet, **more):
    return {"id": event, "who": who, "over": int(wet), "sure": None, **more}


def read(driver):
    contracts = KnownSchemas([driver.plan.contracts["labels"]])
    return read_labels(driver.pipeline, MemoryReader(driver.log), contracts, lambda n: None)


def ask(driver):
    reader, name = MemoryReader(driver.log), driver.pipeline.name
    before = read_requests(name, reader, KnownSchemas())["request_id"]
    return request_labels(driver.pipeline, read(driver), before, MemorySender(driver.log))


def send_tides(driver, count=60):
    for number in range(count):
        driver.send({"id": f"e{number:03}", "station": "s", "at": driver.now, "height": number % 10, "due": None})
        driver.advance(timedelta(minutes=1))
    driver.run()


def test_events_in_dispute_stay_out_of_training(make):
    driver = make(tm.Annotators(least=2, agree=0.7))
    send_tides(driver)
    accepted = [row["event_id"] for row in driver.features()]
    wet = {row["event_id"]: row["height"] > 4 for row in driver.features()}
    tied, split, few = accepted[0], accepted[1], accepted[2]
    for event in accepted[3:]:
        driver.send_labels([label(event, who, wet[event]) for who in ("ada", "bo", "cy")])
    driver.send_labels([label(tied, "ada", True), label(tied, "bo", False)])
    driver.send_labels([label(split, who, who != "cy") for who in ("ada", "bo", "cy")])
    driver.send_labels([label(few, "ada", True), label("never sent", "ada", True)])
    made = driver.train()
    assert made["training_rows"] + made["evaluation_rows"] == len(accepted) - 3
    assert made["metrics"]["disputed_events"] == 3
    # What the others come to agree on is no dispute any longer.
    driver.send_labels([label(tied, "bo", True), label(few, "cy", True)])
    made = driver.train()
    assert made["training_rows"] + made["evaluation_rows"] == len(accepted) - 1
    assert made["metrics"]["disputed_events"] == 1


def test_training_takes_the_consensus_where_labels_say_who_gave_them(make):
    driver = make(None)
    send_tides(driver)
    rows = driver.features()
    for row in rows:
        # The last label on the log is wrong, each time.
        truth = row["height"] > 4
        driver.send_labels([label(row["event_id"], who, truth == (who != "cy")) for who in ("ada", "bo", "cy")])
    made = driver.train()
    assert made["metrics"]["accuracy"] == 1
    assert made["metrics"]["disputed_events"] == 0


def test_gold_questions_are_read_as_the_label_is(make, tmp_path):
    (tmp_path / "gold.csv").write_text("event_id,label\n007,True\nx,false\n")
    driver = make(tm.Annotators(gold="gold.csv"))
    assert gold_questions(driver.pipeline).rows() == [("007", True), ("x", False)]
    driver.send_labels([label("007", "ada", True), label("x", "ada", True), label("x", "bo", False)])
    found = assess_labels(driver.pipeline, read(driver))
    assert found.annotators.select("annotator", "gold", "gold_right").rows() == [("ada", 2, 1), ("bo", 1, 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("event,label\na,true\n", "there is no column 'event_id'; did you mean 'event'"),
        ("event_id,label\na,ture\n", "row 0: expected a label out of False, True, got 'ture'; did you mean 'true'"),
        ("event_id,label\na,true\na,false\n", "'a' is there twice"),
        ("event_id,label\n,true\n", "a row without one"),
        (None, r"gold questions: .*gold\.csv cannot be read as csv"),
    ],
)
def test_gold_questions_that_cannot_be_used_are_refused(make, tmp_path, text, message):
    if text is not None:
        (tmp_path / "gold.csv").write_text(text)
    with pytest.raises(DeclarationError, match=message):
        gold_questions(make(tm.Annotators(gold="gold.csv")).pipeline)


def test_a_stretch_of_labels_is_by_their_time(make, schemas):
    millis = {"type": "long", "logicalType": "timestamp-millis"}
    driver = make(tm.Annotators(), fields={"at": ["null", millis]}, time="at")
    start = driver.now
    driver.send_labels([label("a", "ada", True, at=start - HOUR), label("b", "ada", True, at=None)])
    driver.advance(HOUR)
    driver.send_labels(label("c", "ada", True, at=None))

    def events(**stretch):
        return assess_labels(driver.pipeline, read(driver), **stretch).decided["event_id"].to_list()

    assert events() == ["a", "b", "c"]
    # Without a time of its own, a label has its record's.
    assert events(since=start) == ["b", "c"]
    assert events(since=start, until=start + HOUR) == ["b"]


def test_labels_of_no_class_do_not_vote(make):
    driver = make(tm.Annotators(), label=pl.col("over"), classes=[0, 1])
    driver.send_labels([label("a", "ada", 1), label("a", "bo", 7), label("a", "cy", 7)])
    assert assess_labels(driver.pipeline, read(driver)).decided.select("label", "annotators").rows() == [(1, 1)]


def test_numbers_have_no_consensus(make):
    driver = make(None, label=pl.col("over"))
    with pytest.raises(DeclarationError, match="are numbers: annotators agree on classes only"):
        assess_labels(driver.pipeline, read(driver))


def test_requests_are_written_once(make):
    driver = make(tm.Annotators(least=2, audit=0.5, guidelines_version="3"))
    driver.send_labels([label(f"e{n}", who, True) for n in range(20) for who in ("ada", "bo")])
    driver.send_labels(label("alone", "ada", True))
    first = ask(driver)
    assert 5 < len(first.sent) == len(first.requests) < 18
    assert "dispute" in set(first.sent["why"])
    assert ask(driver).sent.is_empty()
    driver.send_labels([label("e20", who, True) for who in ("ada", "bo", "cy")])
    ask(driver)
    there = driver.table("label-requests").to_pylist()
    assert len({row["request_id"] for row in there}) == len(there)
    assert {row["guidelines_version"] for row in there} == {"3"}
    assert set(there[0]) == {"request_id", "event_id", "why", "asked_at", "guidelines_version"}
    assert all(row["asked_at"] == tm.testing.START for row in there)


def test_a_doubled_request_is_read_once(make):
    driver = make(tm.Annotators(audit=1.0))
    driver.send_labels(label("a", "ada", True))
    for _ in range(2):
        request_labels(driver.pipeline, read(driver), [], MemorySender(driver.log))
    assert len(driver.records("label-requests")) == 2
    assert len(read_requests("tides", MemoryReader(driver.log), KnownSchemas())) == 1


def test_who_declares_no_annotators_asks_for_nothing(make, declare):
    driver = make(None)
    with pytest.raises(DeclarationError, match="declares no annotators: add"):
        request_labels(driver.pipeline, read(driver), [], MemorySender(driver.log))
    with pytest.raises(DeclarationError, match="does not say who gives labels: add"):
        said(declare(), pa.table({}))


def test_the_guidelines_version_goes_in_a_header(make):
    driver = make(tm.Annotators(guidelines_version="3"))
    driver.send_labels(label("a", "ada", True))
    assert driver.records("labels")[0].headers == [("tidemill.guidelines_version", b"3")]
    driver.send_bytes(driver.records("labels")[0].value, key=b"b", topic="labels")
    assert said(driver.pipeline, read(driver))["guidelines_version"].sort().to_list() == [None, "3"]


def test_the_guidelines_version_goes_in_the_field_for_it(make):
    driver = make(tm.Annotators(guidelines_version="3"), fields={"guidelines_version": ["null", "string"]})
    driver.send_labels([label("a", "ada", True), label("a", "bo", True, guidelines_version="2")])
    driver.send_labels(driver.plan.contracts["labels"].arrow.empty_table())
    driver.send_labels(pa.Table.from_pylist([label("a", "cy", True)], driver.plan.contracts["labels"].arrow))
    assert not any(record.headers for record in driver.records("labels"))
    assert assess_labels(driver.pipeline, read(driver)).versions == [("2", 1), ("3", 2)]


def test_times_are_event_times(make):
    driver = make(tm.Annotators())
    driver.send_labels(label("a", "ada", True))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert said(driver.pipeline, read(driver))["time"].to_list() == [(driver.now - epoch) // timedelta(microseconds=1)]
