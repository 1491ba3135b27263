import numpy as np
import pytest

from tidemill.schemas.framing import VALUE_SCHEMA_ID
from tidemill.streams.ports import LogRecord, Records
from tidemill.streams.rejections import (
    HEADERS,
    RETRY_ATTEMPT,
    RETRY_EVENT,
    RejectedRow,
    StoredRejection,
    rejected_output,
)


def row(offset, partition=0, topic="tides.events", value=None, **changed):
    given = {
        "stage": "sanity_check",
        "reason": "out_of_range",
        "message": "zu groß: 7 > 6",
        "timestamp": 5,
        "key": b"k",
    }
    return RejectedRow(topic=topic, partition=partition, offset=offset, value=value, **{**given, **changed})


def test_the_headers_are_those_of_kafka_streams_dead_letters():
    assert dict(row(7, partition=2).headers()) == {
        "__streams.errors.stage": b"sanity_check",
        "__streams.errors.exception": b"out_of_range",
        "__streams.errors.message": "zu groß: 7 > 6".encode(),
        "__streams.errors.topic": b"tides.events",
        "__streams.errors.partition": b"2",
        "__streams.errors.offset": b"7",
    }
    assert set(HEADERS) == {"stage", "reason", "message", "topic", "partition", "offset"}


def test_messages_stand_in_the_order_of_the_log(plan):
    given = [row(5, 1, value=b"d"), row(3, 0, value=b"b"), row(9, 0, value=b"c"), row(3, 0, value=b"b2")]
    made = rejected_output(plan, given, None)
    assert made.topic == "tides.rejected"
    assert made.partition.tolist() == [0, 0, 0, 1]
    assert made.values == [b"b", b"b2", b"c", b"d"]
    assert made.keys == [b"k"] * 4
    assert made.timestamp.tolist() == [5] * 4
    assert [dict(headers)["__streams.errors.offset"] for headers in made.headers] == [b"3", b"3", b"9", b"5"]


def test_original_bytes_are_fetched_once_per_partition(plan, log):
    for partition in (0, 1):
        for offset in range(4):
            log.append("tides.events", partition, b"k", f"{partition}.{offset}".encode())
    asked = []
    fetch = log.fetch
    log.fetch = lambda topic, partition, offsets: (
        asked.append((topic, partition, offsets)) or fetch(topic, partition, offsets)
    )
    made = rejected_output(
        plan, [row(2), row(0), row(1, 1), row(99), row(3, topic="tides.validated", value=b"own")], log
    )
    assert made.values == [b"0.0", b"0.2", b"own", None, b"1.1"]
    assert sorted(asked) == [("tides.events", 0, [0, 2, 99]), ("tides.events", 1, [1])]


@pytest.mark.parametrize("value", [b"garbage", None])
def test_what_could_not_be_read_keeps_its_place_and_bytes(value):
    records = Records(np.array([3], np.int32), np.array([8]), np.array([77]), [b"key"], [value], [[("trace", b"1")]])
    made = RejectedRow.undecodable("sanity_check", "tides.events", records, 0, "empty_value", "why")
    kept = [("trace", b"1")]
    assert made == RejectedRow("sanity_check", "empty_value", "why", "tides.events", 3, 8, 77, b"key", value, kept)


def test_headers_without_which_an_event_cannot_be_read_go_along():
    own = [("trace", b"1"), (VALUE_SCHEMA_ID, b"\x00\x00\x00\x00\x07"), (RETRY_ATTEMPT, b"2"), (RETRY_ATTEMPT, b"3")]
    made = row(7, kept=[*own, ("__streams.errors.offset", b"9")]).headers()
    assert made[6:] == [(RETRY_ATTEMPT, b"2"), (VALUE_SCHEMA_ID, b"\x00\x00\x00\x00\x07")]
    read = StoredRejection.of(LogRecord(0, 4, 5, b"k", b"v", made))
    assert (read.stage, read.reason, read.topic, read.partition, read.offset, read.attempt) == (
        ("sanity_check", "out_of_range", "tides.events", 0, 7, 2)
    )


def test_headers_of_a_hostile_producer_do_not_make_a_rejection_too_large(plan):
    own = [(VALUE_SCHEMA_ID, b"x" * 10_000_000), *([(RETRY_EVENT, b"y" * 1000)] * 10_000), (RETRY_ATTEMPT, None)]
    made = row(7, kept=own).headers()
    assert sum(len(name) + len(value or b"") for name, value in made) < 2_000
    assert StoredRejection.of(LogRecord(0, 4, 5, b"k", b"v", made)).attempt == 0


def test_what_a_model_raises_cannot_make_a_rejection_too_large_or_unwritable():
    made = dict(row(7, message="\udcff" + "é" * 5_000_000).headers())["__streams.errors.message"]
    assert made.decode().startswith("\\udcffééé")
    assert made.decode().endswith("é…")
    assert len(made) < 5_000


@pytest.mark.parametrize("text", [b"", b"-3", "²".encode(), b"9" * 5_000, b"\xff", None])
def test_a_message_that_somebody_else_wrote_can_be_read(text):
    read = StoredRejection.of(LogRecord(0, 4, 5, None, None, [(name, text) for name in HEADERS.values()]))
    assert (read.partition, read.offset) == (-1, -1)


def test_a_later_stage_looks_up_these_headers_too(plan, log):
    log.append("tides.events", 0, b"k", b"v", headers=[("trace", b"1"), (RETRY_ATTEMPT, b"1")])
    made = rejected_output(plan, [row(0)], log)
    assert made.headers[0][6:] == [(RETRY_ATTEMPT, b"1")]
