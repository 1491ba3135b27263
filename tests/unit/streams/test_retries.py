import json

import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.schemas.errors import CommitAborted
from tidemill.schemas.framing import VALUE_SCHEMA_ID
from tidemill.streams import retries
from tidemill.streams.memory import MemoryReader, MemoryTransactions
from tidemill.streams.rejected_log import Place, Selection
from tidemill.streams.retries import retried_offsets, retry, transactional_id

EVERYTHING = Selection()


class Breaking:
    """Commits so many times and then no more."""

    def __init__(self, log, times):
        self.inner, self.left = MemoryTransactions(log), times

    def commit(self, outputs):
        if not self.left:
            raise CommitAborted("killed")
        self.left -= 1
        self.inner.commit(outputs)


def declare(pipeline, lowest=0, **changed):
    """The pipeline with other checks."""
    return tm.Pipeline(
        "tides",
        pipeline.events,
        checks=[tm.between("height", lowest, 100), tm.unique("1h")],
        features=list(pipeline.features),
        labels=pipeline.labels,
        base=".",
        **{"model": tm.Model(LogisticRegression(), ["height"], prior=0.25), **changed},
    )


@pytest.fixture
def driver(pipeline, event):
    """Two partitions, with good events, events below zero, and bytes that are none."""
    driver = tm.testing.Driver(declare(pipeline), partitions=2)
    for number in range(20):
        height = -1.0 if number % 2 else 1.0
        key = f"s{number % 3}".encode()
        driver.log.append("tides.events", key, event(f"e{number}", height), timestamp=1_000 + number)
    driver.send_bytes(None, key=b"s0")
    driver.send_bytes(b"\x01\x02", key=b"s1", headers=[(VALUE_SCHEMA_ID, b"\x00\x00\x00\x00\x07"), ("other", b"x")])
    driver.run()
    return driver


def call(driver, selection=EVERYTHING, transactions="memory"):
    given = MemoryTransactions(driver.log) if transactions == "memory" else transactions
    return retry(MemoryReader(driver.log), "tides", selection, given)


def answered(driver):
    """How many answers each event has."""
    events = [(r.partition, r.offset) for r in driver.records("events")]
    answers = [(p.source_partition, p.source_offset) for p in driver.predictions()]
    answers += [(r.partition, r.offset) for r in driver.rejections()]
    assert sorted(answers) == sorted(events)
    return len(events)


def reasons_by_offset(driver):
    return [r.reason for r in sorted(driver.rejections(), key=lambda r: r.offset)]


def test_a_copy_is_the_event_again_and_names_it(driver):
    before = {(r.partition, r.offset): r for r in driver.records("events")}
    rejections = {(r.partition, r.offset): r for r in driver.records("rejected")}
    result = call(driver, Selection(reasons=frozenset({"out_of_range"})))
    assert (result.sent, result.already, result.without_bytes, result.reasons) == (10, 0, 0, {"out_of_range": 10})
    copies = [r for r in driver.records("events") if (r.partition, r.offset) not in before]
    assert len(copies) == 10
    for copy in copies:
        named = {name: value.decode() for name, value in copy.headers}
        places = {str(Place("tides.events", *place)): record for place, record in before.items()}
        original = places[named["tidemill.retry.event"]]
        assert (copy.partition, copy.key, copy.value, copy.timestamp) == (
            (original.partition, original.key, original.value, original.timestamp)
        )
        assert named["tidemill.retry.attempt"] == "1"
        assert named["tidemill.retry.rejection"] in {str(Place("tides.rejected", *place)) for place in rejections}
    driver.run()
    assert answered(driver) == 32


def test_a_second_retry_sends_nothing_and_a_copys_rejection_is_one_of_its_own(driver):
    chosen = Selection(reasons=frozenset({"out_of_range"}))
    assert call(driver, chosen).sent == 10
    again = call(driver, chosen)
    assert (again.sent, again.already) == (0, 10)
    driver.run()
    second = call(driver, chosen)
    assert (second.sent, second.already) == (10, 10)
    driver.run()
    attempts = [retries.StoredRejection.of(r).attempt for r in driver.records("rejected")]
    assert sorted(attempts) == [0] * 12 + [1] * 10 + [2] * 10
    assert answered(driver) == 42


def test_a_corrected_pipeline_answers_what_was_sent_again(driver, pipeline):
    driver.pipeline = declare(pipeline, lowest=-5)
    driver.restart()
    call(driver, Selection(reasons=frozenset({"out_of_range"})))
    driver.run()
    assert sorted(p.event_id for p in driver.predictions()) == sorted(f"e{number}" for number in range(20))
    assert answered(driver) == 32


def test_the_header_that_names_the_schema_goes_along(driver):
    result = call(driver)
    assert (result.sent, result.without_bytes) == (11, 1)
    (copy,) = [r for r in driver.records("events")[-20:] if r.value == b"\x01\x02" and len(r.headers) > 2]
    assert dict(copy.headers)[VALUE_SCHEMA_ID] == b"\x00\x00\x00\x00\x07"
    assert "other" not in dict(copy.headers)
    driver.run()
    reasons = {r.reason for r in driver.rejections() if r.value == b"\x01\x02"}
    assert reasons == {"unknown_schema"}


def test_a_dry_run_counts_and_writes_nothing(driver):
    end = driver.log.end("tides.events", 0), driver.log.end("tides.events", 1)
    assert call(driver, transactions=None).sent == 11
    assert (driver.log.end("tides.events", 0), driver.log.end("tides.events", 1)) == end
    assert driver.records("retries") == []


@pytest.mark.parametrize("times", range(5))
def test_one_that_broke_off_is_simply_called_again(driver, monkeypatch, times):
    monkeypatch.setattr(retries, "BATCH_ROWS", 2)
    with pytest.raises(CommitAborted):
        call(driver, transactions=Breaking(driver.log, times))
    noted = len(driver.records("retries"))
    result = call(driver)
    assert (result.sent, result.already) == (11 - noted, noted)
    driver.run()
    assert answered(driver) == 33


@pytest.mark.parametrize("stages", ["all", "each"])
def test_an_event_that_a_later_stage_refused_is_not_its_own_duplicate(pipeline, event, stages):
    driver = tm.testing.Driver(declare(pipeline, model=tm.Model(LogisticRegression(), ["height"])), stages=stages)
    for number in (1, 1, 2):
        driver.log.append("tides.events", b"s", event(f"e{number}", float(number)), timestamp=1_000, partition=0)
    driver.run()
    assert reasons_by_offset(driver) == ["no_model", "duplicate_id", "no_model"]
    driver.serve(LogisticRegression().fit(pd.DataFrame({"height": [0.0, 1.0]}), [False, True]))
    assert call(driver).sent == 3
    # A true duplicate stays one, and what the producer sends twice after this too.
    driver.log.append("tides.events", b"s", event("e2", 2.0), timestamp=1_000, partition=0)
    driver.run()
    assert [p.event_id for p in driver.predictions()] == ["e1", "e2"]
    assert reasons_by_offset(driver)[3:] == ["duplicate_id", "duplicate_id"]


def test_what_an_event_passed_once_it_need_not_pass_again(pipeline, event):
    """Refused by the model, then by a check that was added, then sent again: still not its own duplicate."""
    driver = tm.testing.Driver(declare(pipeline, model=tm.Model(LogisticRegression(), ["height"])))
    driver.log.append("tides.events", b"s", event("e1", 1.0), timestamp=1_000, partition=0)
    driver.run()
    for lowest, expected in ((2, "out_of_range"), (0, "no_model")):
        driver.pipeline = declare(pipeline, lowest=lowest, model=tm.Model(LogisticRegression(), ["height"]))
        driver.restart()
        assert call(driver).sent == 1
        driver.run()
        assert reasons_by_offset(driver)[-1] == expected


def test_large_events_do_not_stand_in_one_transaction(driver, monkeypatch):
    monkeypatch.setattr(retries, "BATCH_BYTES", 1)
    sizes = []
    inner = MemoryTransactions(driver.log)

    class Counting:
        def commit(self, outputs):
            sizes.append([len(output) for output in outputs])
            inner.commit(outputs)

    call(driver, transactions=Counting())
    assert sizes == [[1, 1]] * 11


def test_at_least_once_an_event_that_was_rejected_twice_is_sent_once(driver):
    for record in driver.records("rejected"):
        headers = record.headers
        driver.log.append("tides.rejected", record.key, record.value, headers=headers, partition=record.partition)
    result = call(driver)
    assert (result.sent, result.already) == (11, 11)


def test_what_is_no_event_of_the_pipeline_is_not_sent(driver):
    row = retries.StoredRejection.of(driver.records("rejected")[0])
    headers = [(name, b"tides.validated" if name.endswith("topic") else value) for name, value in row.record.headers]
    driver.log.append("tides.rejected", b"k", b"v", headers=headers, partition=0)
    driver.log.append("tides.rejected", b"k", b"v", partition=0)
    assert call(driver).not_events == 2


def test_the_notes_say_what_was_sent_again_and_why(driver):
    call(driver, Selection(reasons=frozenset({"out_of_range"})))
    notes = driver.records("retries")
    assert len(notes) == 10
    note = notes[0]
    partition, offset = note.key.decode().split("/")
    assert int(partition) == note.partition
    assert int(offset) in retried_offsets(MemoryReader(driver.log), "tides", note.partition)
    assert json.loads(note.value)["reason"] == "out_of_range"
    assert transactional_id("tides") == "tides.rejected-retry"
