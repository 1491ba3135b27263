"""Events in, predictions and rejections out, through worker processes and a real Kafka."""

import struct

import pytest

MURMUR2_OF_JAVA = {
    # Utils.murmur2 of the Kafka client in Java, from its own UtilsTest.
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


def murmur2(data: bytes) -> int:
    """MurmurHash2 as Kafka's Java client computes it: 32 bits, seed 0x9747b28c."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) // 4 * 4
    for (word,) in struct.iter_unpack("<I", data[:whole]):
        k = word * m & mask
        k = (k ^ (k >> 24)) * m & mask
        h = (h * m & mask) ^ k
    rest = data[whole:]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ (h >> 13)) * m & mask
    return h ^ (h >> 15)


@pytest.fixture(scope="module")
def answered(make_mill, orders):
    """A pipeline that has answered 2,000 orders; its worker still runs."""
    mill = make_mill()
    mill.supervisor = mill.run()
    mill.wait(0)
    mill.send(orders.make(2_000))
    mill.wait(2_000)
    return mill


def test_features_and_rejections_are_those_of_a_naive_computation(answered, orders):
    assert orders.check(answered) == 2_000


def test_the_audit_proves_it(answered):
    found = answered.audit()
    assert found["holds"]
    assert found["events"] == 2_000 == found["predictions"] + found["rejections"]
    assert found["missing"] == found["doubled"] == found["waiting"] == found["unknown"] == 0
    assert sum(p["events"] for p in found["partitions"]) == 2_000


def test_our_murmur2_is_that_of_java():
    for data, expected in MURMUR2_OF_JAVA.items():
        assert murmur2(data) == expected & 0xFFFFFFFF, data


def test_keys_go_to_the_partitions_that_java_gives_them(answered):
    for message in answered.read("events"):
        assert message.partition() == (murmur2(message.key()) & 0x7FFFFFFF) % 3


def test_key_partition_and_timestamp_go_through_all_topics(answered):
    events = {(m.partition(), m.offset()): m for m in answered.read("events")}
    passed = [place for place, (answer,) in answered.answers.items() if answer.prediction]
    for suffix in ("validated", "features", "predictions"):
        messages, rows = answered.read(suffix), answered.rows(suffix)
        assert [(row["source_partition"], row["source_offset"]) for row in rows] == sorted(passed)
        for message, row in zip(messages, rows, strict=True):
            event = events[row["source_partition"], row["source_offset"]]
            assert message.partition() == event.partition()
            assert message.key() == event.key()
            assert message.timestamp()[1] == event.timestamp()[1]


def test_a_rejection_has_the_events_bytes_and_says_what_was_wrong(answered):
    events = {(m.partition(), m.offset()): m for m in answered.read("events")}
    rejected = [answer for (answer,) in answered.answers.values() if answer.rejection]
    assert {answer.rejection["reason"] for answer in rejected} == {"out_of_range", "duplicate_id"}
    for answer in rejected:
        event = events[int(answer.rejection["partition"]), int(answer.rejection["offset"])]
        message = answer.message
        assert (message.value(), message.key()) == (event.value(), event.key())
        assert message.partition() == event.partition()
        assert message.timestamp()[1] == event.timestamp()[1]
        assert answer.rejection["topic"] == f"{answered.name}.events"
        assert answer.rejection["stage"] == "sanity_check"
        if answer.rejection["reason"] == "out_of_range":
            assert answer.rejection["message"].startswith("expected amount between 0 and 1000, got ")


def test_header_names_are_those_of_kafka_streams(answered):
    message = next(answer.message for (answer,) in answered.answers.values() if answer.rejection)
    assert [name for name, _ in message.headers()] == [
        f"__streams.errors.{name}" for name in ("stage", "exception", "message", "topic", "partition", "offset")
    ]


def test_predictions_are_the_priors_until_a_model_is_announced(answered):
    for row in answered.rows("predictions"):
        assert (row["model_version"], row["value"], row["probability_true"]) == ("prior", False, 0.25)


def test_nothing_is_said_that_is_not_needed(answered):
    """A good run has nothing to warn of."""
    assert "level=ERROR" not in answered.log()
    assert "Traceback" not in answered.log()


def test_a_graceful_stop_and_a_start_go_on_where_the_state_was(answered, orders):
    """SIGTERM: exit code 0, no process left behind, and windows that know what was before."""
    workers = answered.workers(answered.supervisor)
    assert len(workers) == 1
    assert answered.stop(answered.supervisor) == 0
    assert not [worker for worker in workers if worker.is_running()]
    answered.send(orders.make(1_000, seed=2, start=2_000))
    answered.supervisor = answered.run()
    answered.wait(3_000)
    assert orders.check(answered) == 3_000
    assert answered.audit()["holds"]
