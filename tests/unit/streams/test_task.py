import numpy as np
import pytest

from tidemill.processors.online_inference import Scorer, ServedModel
from tidemill.schemas.codec import Codec
from tidemill.schemas.framing import Confluent
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.rejections import HEADERS

EACH = ("sanity_check", "feature_enrichment", "online_inference")


class Half:
    def predict_proba(self, frame):
        return np.full((len(frame), 2), 0.5)


@pytest.fixture
def serve(plan):
    def give(task):
        if task.inference is not None:
            task.inference.serve(ServedModel("m1", ("height",), Scorer(Half(), plan.target)))
        return task

    return give


@pytest.fixture
def step(log, records, plan):
    """Prepare what is on the task's input, and commit it."""

    def run(task, start=0, end=None):
        prepared = task.prepare(records(log, task.input_topic, start, end))
        log.commit(prepared, task.input_topic, plan.topic("changelog"))
        task.committed(prepared)
        return prepared

    return run


def headers(record):
    return {name: dict(record.headers)[header].decode() for name, header in HEADERS.items()}


def rejections(log, partition=0):
    return [headers(record) for record in log.read("tides.rejected", partition)]


def test_every_record_becomes_one_prediction_or_one_rejection(task, log, event, serve, step, rows):
    values = [event("a"), b"garbage", event("b", 101.0), None, event("a"), event("c", 2.0), event("d", None)]
    for i, value in enumerate(values):
        log.append("tides.events", 0, b"s", value, timestamp=1000 + i)
    prepared = step(serve(task()))
    assert [row["source_offset"] for row in rows(log, "validated")] == [0, 5, 6]
    assert [(row["source_offset"], row["seen"], row["mean"]) for row in rows(log, "features")] == [
        (0, 0, None),
        (5, 1, 1.0),
        (6, 2, 1.5),
    ]
    assert [(row["source_offset"], row["model_version"]) for row in rows(log, "predictions")] == [
        (0, "m1"),
        (5, "m1"),
        (6, "m1"),
    ]
    assert [(r["offset"], r["reason"], r["stage"]) for r in rejections(log)] == [
        ("1", "unknown_framing", "sanity_check"),
        ("2", "out_of_range", "sanity_check"),
        ("3", "empty_value", "sanity_check"),
        ("4", "duplicate_id", "sanity_check"),
    ]
    assert prepared.offsets == {0: 7}
    counts = prepared.counts["sanity_check"]
    assert counts.accepted == 3
    assert counts.rejected == {"unknown_framing": 1, "empty_value": 1, "out_of_range": 1, "duplicate_id": 1}


def test_outputs_keep_the_events_key_time_and_partition(task, log, event, records):
    for partition in (0, 1):
        log.append("tides.events", partition, f"k{partition}".encode(), event("a"), timestamp=5)
        log.append("tides.events", partition, None, b"garbage", timestamp=6)
    worker = task("sanity_check", partitions=(0, 1))
    prepared = worker.prepare(records(log, "tides.events", partitions=(0, 1)))
    by_topic = {output.topic: output for output in prepared.outputs}
    assert by_topic["tides.validated"].keys == [b"k0", b"k1"]
    assert by_topic["tides.validated"].partition.tolist() == [0, 1]
    assert by_topic["tides.validated"].timestamp.tolist() == [5, 5]
    assert by_topic["tides.rejected"].keys == [None, None]
    assert by_topic["tides.rejected"].values == [b"garbage", b"garbage"]
    assert by_topic["tides.rejected"].timestamp.tolist() == [6, 6]


def test_a_batch_of_nothing_but_garbage(task, log, step):
    log.append("tides.events", 0, None, b"garbage")
    prepared = step(task())
    assert [r["reason"] for r in rejections(log)] == ["unknown_framing"]
    assert prepared.offsets == {0: 1}
    assert log.topics["tides.validated", 0] == []


def test_a_batch_in_which_nothing_passes(task, log, event, step):
    log.append("tides.events", 0, b"s", event("a", -1.0))
    step(task())
    assert [r["reason"] for r in rejections(log)] == ["out_of_range"]


def test_a_model_that_fails_on_a_row_rejects_it_with_its_bytes(task, log, event, step, rows, plan):
    class Low:
        def predict_proba(self, frame):
            if (frame["height"] > 5).any():
                raise ValueError("too high")
            return np.full((len(frame), 2), 0.5)

    for i, height in enumerate((1.0, 9.0, 2.0)):
        log.append("tides.events", 0, b"s", event(f"e{i}", height))
    fused = task()
    fused.inference.serve(ServedModel("m1", ("height",), Scorer(Low(), plan.target)))
    step(fused)
    assert [row["source_offset"] for row in rows(log, "predictions")] == [0, 2]
    (rejection,) = log.read("tides.rejected", 0)
    assert rejection.value == event("e1", 9.0)
    assert headers(rejection)["stage"] == "online_inference"


def test_a_later_stage_by_itself_fetches_the_original_bytes(task, log, event, step):
    for i in range(3):
        log.append("tides.events", 0, b"s", event(f"e{i}"), timestamp=100 + i)
    for stage in EACH:
        step(task(stage))
    found = list(log.read("tides.rejected", 0))
    assert [headers(r)["reason"] for r in found] == ["no_model"] * 3
    assert [r.value for r in found] == log.values("tides.events")
    assert [r.timestamp for r in found] == [100, 101, 102]
    assert [headers(r)["topic"] for r in found] == ["tides.events"] * 3


def test_original_bytes_that_are_gone_leave_a_rejection_without_them(task, log, event, step):
    log.append("tides.events", 0, b"s", event("a"))
    for stage in EACH[:2]:
        step(task(stage))
    log.topics["tides.events", 0].clear()
    step(task("online_inference"))
    (rejection,) = log.read("tides.rejected", 0)
    assert rejection.value is None
    assert headers(rejection)["offset"] == "0"


def test_input_that_was_written_twice_is_processed_once_whatever_the_batch(task, log, event, step, rows):
    for i in range(3):
        log.append("tides.events", 0, b"s", event(f"e{i}"))
    step(task("sanity_check"))
    for value in log.values("tides.validated"):
        log.append("tides.validated", 0, b"s", value)
    features = task("feature_enrichment")
    step(features, 0, 4)
    step(features, 4, 6)
    assert [(row["source_offset"], row["seen"]) for row in rows(log, "features")] == [(0, 0), (1, 1), (2, 2)]
    assert rejections(log) == []


def test_what_does_not_belong_to_the_partition_is_rejected(task, log, event, step, rows, plan):
    log.append("tides.events", 0, b"s", event("a"))
    step(task("sanity_check"))
    (row,) = rows(log, "validated")
    forged = Codec(plan.contracts["validated"], KnownSchemas()).encode_rows([{**row, "source_partition": 3}])[0]
    log.append("tides.validated", 0, b"s", forged)
    prepared = step(task("feature_enrichment"))
    assert len(rows(log, "features")) == 1
    (rejection,) = log.read("tides.rejected", 0)
    found = headers(rejection)
    assert (found["reason"], found["topic"], found["offset"]) == ("misplaced", "tides.validated", "1")
    assert "expected an event of partition 0" in found["message"]
    assert rejection.value == forged
    assert {entry.partition for entry in prepared.changelog} == {0}


def test_garbage_on_an_intermediate_topic_is_rejected_from_there(task, log, step):
    log.append("tides.features", 0, None, b"garbage")
    step(task("online_inference"))
    assert [(r["topic"], r["offset"], r["stage"]) for r in rejections(log)] == [
        ("tides.features", "0", "online_inference")
    ]


def test_the_state_moves_on_with_each_commit_and_comes_back(task, log, event, step, rows):
    for i in range(6):
        log.append("tides.events", 0, b"s", event(f"e{i}", float(i)))
    first = task("sanity_check", "feature_enrichment")
    step(first, 0, 4)
    second = task("sanity_check", "feature_enrichment", partitions=())
    assert second.assigned(0) == 4
    step(second, 4)
    assert [row["seen"] for row in rows(log, "features")] == [0, 1, 2, 3, 4, 5]
    assert rows(log, "features")[-1]["mean"] == 2.0


def test_after_a_commit_that_failed_the_same_is_prepared_again(task, log, event, records, step):
    for i in range(4):
        log.append("tides.events", 0, b"s", event(f"e{i % 3}", float(i)))
    worker = task("sanity_check", "feature_enrichment")
    step(worker, 0, 1)
    lost = worker.prepare(records(log, "tides.events", 1))
    assert worker.assigned(0) == 1
    again = worker.prepare(records(log, "tides.events", 1))
    assert [output.values for output in again.outputs] == [output.values for output in lost.outputs]
    assert list(again.changelog) == list(lost.changelog)


def test_input_that_is_read_again_is_not_processed_again(task, log, event, step, records):
    for value in (event("a"), b"garbage"):
        log.append("tides.events", 0, b"s", value)
    worker = task()
    step(worker)
    again = worker.prepare(records(log, "tides.events"))
    assert again.outputs == []
    assert again.offsets == {0: 2}


def test_a_revoked_partition_leaves_nothing_behind(task, log, event, step, records):
    log.append("tides.events", 0, b"s", event("a"))
    worker = task()
    step(worker)
    worker.revoked(0)
    worker.revoked(1)
    log.topics.clear()
    log.offsets.clear()
    assert worker.assigned(0) is None
    log.append("tides.events", 0, b"s", event("a"))
    assert step(worker).counts["sanity_check"].accepted == 1


def test_messages_are_framed_as_the_registry_says(task, log, event, step):
    log.append("tides.events", 0, b"s", event("a"))
    asked = []

    def prefix(suffix):
        asked.append(suffix)
        return Confluent(7).prefix

    step(task("sanity_check", "feature_enrichment", prefix=prefix))
    assert asked == ["validated", "features"]
    assert log.values("tides.features")[0].startswith(Confluent(7).prefix)


def test_a_task_knows_its_topic_and_its_model_stage(task):
    assert task("feature_enrichment").input_topic == "tides.validated"
    assert task("feature_enrichment").inference is None
    assert task().inference.name == "online_inference"


def test_no_records_at_all(task, records, log):
    prepared = task().prepare(records(log, "tides.events"))
    assert (prepared.outputs, list(prepared.changelog), prepared.offsets) == ([], [], {})
