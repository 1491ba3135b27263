"""Whatever stands on the events topic, each message gets its answer, and none disturbs its neighbours."""

import random
from collections import Counter

import pytest
from confluent_kafka import Producer

HEADER = "__value_schema_id"


@pytest.fixture(scope="module")
def answered(make_mill, orders):
    """A pipeline whose events topic has got garbage between good events."""
    mill = make_mill()
    with mill.worker():
        good = mill.codec_of_events().encode_rows(orders.make(200))
        chance = random.Random(5)
        frame, datum = good[0][:10], good[0][10:]
        id_framed = b"\x00" + (7).to_bytes(4, "big") + datum
        strange = {
            "random": (chance.randbytes(200), [], "unknown_framing"),
            "text": (b'{"id": "o1"}', [], "unknown_framing"),
            "truncated": (good[0][:-3], [], "undecodable"),
            "surplus": (good[0] + b"\x00", [], "surplus_bytes"),
            "frame only": (frame, [], "undecodable"),
            "short frame": (b"\xc3\x01abc", [], "unknown_framing"),
            "unknown fingerprint": (b"\xc3\x01" + b"\x07" * 8 + datum, [], "unknown_schema"),
            "unknown id": (id_framed, [], "unknown_schema"),
            "empty": (b"", [], "empty_value"),
            "tombstone": (None, [], "empty_value"),
            "huge length": (frame + b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01", [], "undecodable"),
            "not UTF-8": (frame + b"\x04\xff\xfe" + datum[3:], [], "invalid_utf8"),
            "guid header": (datum, [(HEADER, b"\x01" + b"g" * 16)], "unknown_schema"),
            "id header": (datum, [(HEADER, b"\x00\x00\x00\x00\x07")], "unknown_schema"),
            "bad header": (datum, [(HEADER, b"\x09")], "unknown_framing"),
            "null header": (datum, [(HEADER, None)], "unknown_framing"),
            "a megabyte": (frame + b"\xff" * 1_047_000, [], "undecodable"),
        }
        producer = Producer(
            {"bootstrap.servers": mill.bootstrap_servers, "message.max.bytes": 2_000_000, "linger.ms": 0}
        )
        mill.expected = {}
        for number, value in enumerate(good):
            producer.produce(f"{mill.name}.events", value, b"k", 0)
            name = list(strange)[number % len(strange)]
            content, headers, reason = strange[name]
            mill.expected[2 * number + 1] = (content, reason)
            producer.produce(f"{mill.name}.events", content, name.encode(), 0, headers=[*headers, ("other", b"x")])
        assert producer.flush(30) == 0
        mill.wait(400)
    return mill


def test_every_message_has_one_answer(answered):
    assert {len(answers) for answers in answered.answers.values()} == {1}
    found = answered.audit()
    assert found["holds"]
    assert (found["events"], found["waiting"]) == (400, 0)


def test_each_is_rejected_for_its_own_reason_with_its_own_bytes(answered):
    reasons = Counter()
    for offset, (content, reason) in answered.expected.items():
        (answer,) = answered.answers[0, offset]
        assert answer.rejection is not None
        assert answer.rejection["reason"] == reason
        assert answer.rejection["stage"] == "sanity_check"
        assert answer.message.value() == content
        reasons[reason] += 1
    assert reasons.total() == 200


def test_good_neighbours_are_untouched(answered):
    good = [answered.answers[0, offset][0] for offset in range(0, 400, 2)]
    assert {a.rejection["reason"] for a in good if a.rejection} <= {"out_of_range", "duplicate_id"}
    assert sum(a.prediction is not None for a in good) > 180


def test_small_messages_that_unpack_into_large_events(make_mill):
    """Compressed, an event of ten megabytes passes a broker's limit of one; what follows from it may not."""
    mill = make_mill()
    with mill.worker():
        codec = mill.codec_of_events()
        row = {"id": "o", "customer": "c", "at": 0, "amount": 1.0, "shop": None}
        texts = {"well": "x" * 10_000_000, "hardly": random.Random(1).randbytes(350_000).hex() * 10}
        producer = Producer(
            {
                "bootstrap.servers": mill.bootstrap_servers,
                "compression.type": "zstd",
                "compression.level": 12,
                "message.max.bytes": 100_000_000,
            }
        )
        for name, text in texts.items():
            (value,) = codec.encode_rows([row | {"id": name, "shop": text}])
            producer.produce(f"{mill.name}.events", value, b"c", 0)
        (value,) = codec.encode_rows([row])
        producer.produce(f"{mill.name}.events", value, b"c", 0)
        assert producer.flush(30) == 0
        mill.wait(3)
    assert mill.answers[0, 2][0].prediction is not None
    for offset in (0, 1):
        (answer,) = mill.answers[0, offset]
        assert answer.rejection["reason"] == "too_large"
        assert "expected at most 1,048,576 bytes, got " in answer.rejection["message"]
        assert answer.message.value() is None
    assert mill.audit()["holds"]
