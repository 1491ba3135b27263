import logging

import pytest

from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import IncompatibleSchema
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.schema_topic import SchemaTopic, publish_contracts


def contract(*fields, name="Event"):
    return Contract.parse({"type": "record", "name": name, "fields": [{"name": n, "type": t} for n, t in fields]})


ONE = contract(("x", "int"))


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def publish(source, made, topic=None):
    source.add(made.fingerprint_hex.encode(), made.text.encode())
    if topic:
        source.add(topic.encode(), made.fingerprint_hex.encode())


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def topic(stream, clock):
    source = stream()
    return source, SchemaTopic(source, clock=clock)


def test_a_schema_is_found_by_its_fingerprint(topic):
    source, known = topic
    publish(source, ONE)
    assert known.by_fingerprint(ONE.fingerprint).text == ONE.text


def test_an_unknown_schema_is_asked_for_at_most_once_a_second(topic, clock):
    source, known = topic
    for _ in range(50):
        assert known.by_fingerprint(ONE.fingerprint) is None
    assert source.waited == 1
    publish(source, ONE)
    clock.now += 0.9
    assert known.by_fingerprint(ONE.fingerprint) is None
    clock.now += 0.1
    assert known.by_fingerprint(ONE.fingerprint) is not None
    assert source.waited == 2
    assert known.by_fingerprint(ONE.fingerprint) is not None
    assert source.waited == 2


class Waiting:
    """A schema topic that waits by a clock of its own; `late` is published when so much time has passed."""

    def __init__(self, source, late=None):
        self.now, self.source, self.late = 0.0, source, late
        self.known = SchemaTopic(source, clock=lambda: self.now, wait=2, sleep=self.sleep)

    def sleep(self, seconds):
        self.now += seconds
        if self.late is not None and self.now >= self.late:
            publish(self.source, ONE)
            self.late = None


def test_a_message_that_overtakes_its_schema_is_held(stream):
    waiting = Waiting(stream(), late=1.5)
    assert waiting.known.by_fingerprint(ONE.fingerprint).text == ONE.text
    assert waiting.now == pytest.approx(1.5, abs=0.11)


def test_a_schema_is_waited_for_no_longer_than_declared(stream, caplog):
    waiting = Waiting(stream())
    assert waiting.known.by_fingerprint(ONE.fingerprint) is None
    assert waiting.now == pytest.approx(2)
    assert f"no schema came for fingerprint {ONE.fingerprint.hex()} within 2 s" in caplog.text


def test_garbage_does_not_hold_the_others_back(stream):
    """After a wait in vain the topic is asked once a second, and a schema that is there is found."""
    waiting = Waiting(stream())
    for number in range(1_000):
        assert waiting.known.by_fingerprint(number.to_bytes(8, "little")) is None
    assert waiting.now == pytest.approx(2)
    publish(waiting.source, ONE)
    waiting.now += 1
    assert waiting.known.by_fingerprint(ONE.fingerprint) is not None
    assert waiting.now == pytest.approx(3)
    waiting.now += 20
    assert waiting.known.by_fingerprint(b"12345678") is None
    assert waiting.now == pytest.approx(25)


def test_a_schema_that_was_added_needs_no_asking(topic):
    source, known = topic
    known.add(ONE)
    assert known.by_fingerprint(ONE.fingerprint) is ONE
    assert source.waited == 0


def test_the_latest_contract_of_each_topic(topic):
    source, known = topic
    newer = contract(("x", "int"), ("y", ["null", "int"]))
    publish(source, ONE, "p.events")
    publish(source, newer, "p.events")
    publish(source, ONE, "p.labels")
    known.refresh()
    assert known.latest("p.events").text == newer.text
    assert known.latest("p.other") is None
    assert {name: c.text for name, c in known.topics().items()} == {"p.events": newer.text, "p.labels": ONE.text}


@pytest.mark.parametrize(
    "value",
    [b"{", b'{"type": "record"}', b'{"type": "int"}', b"\xff\xfe", b"not hex", b"abc", b"", b"{\xff"],
)
def test_what_is_no_contract_is_logged_and_passed_over(topic, caplog, value):
    source, known = topic
    source.add(b"p.events", value)
    source.add(None, b"{}")
    source.add(b"p.events", None)
    publish(source, ONE, "p.events")
    with caplog.at_level(logging.ERROR):
        known.refresh()
    assert known.latest("p.events").text == ONE.text
    assert ("schemas[0]@0 is not a contract" in caplog.text) == (value != b"")


def test_others_may_publish_what_does_not_fit_into_columns(topic):
    source, known = topic
    theirs = Contract.writer({"type": "record", "name": "Other", "fields": [{"name": "u", "type": ["int", "string"]}]})
    publish(source, theirs)
    assert known.by_fingerprint(theirs.fingerprint).text == theirs.text


def test_ids_and_guids_are_asked_of_the_registry(stream):
    class Registry(KnownSchemas):
        def by_id(self, schema_id):
            return ONE if schema_id == 7 else None

        def by_guid(self, guid):
            return ONE if guid == b"g" * 16 else None

    with_registry, without = SchemaTopic(stream(), Registry()), SchemaTopic(stream())
    assert (with_registry.by_id(7), with_registry.by_id(8), without.by_id(7)) == (ONE, None, None)
    assert (with_registry.by_guid(b"g" * 16), without.by_guid(b"g" * 16)) == (ONE, None)


def test_contracts_are_published_once(topic, sender):
    source, known = topic
    publish(source, ONE, "p.labels")
    assert publish_contracts("p", {"events": ONE, "labels": ONE}, known, sender) == ["p.events"]
    fingerprint = ONE.fingerprint_hex.encode()
    assert sender.sent == [("p.schemas", fingerprint, ONE.text.encode()), ("p.schemas", b"p.events", fingerprint)]
    assert sender.flushed == 2


def test_a_change_that_cannot_read_what_was_written_publishes_nothing(topic, sender):
    source, known = topic
    publish(source, ONE, "p.labels")
    broken = contract(("y", "string"))
    with pytest.raises(IncompatibleSchema, match=r"p\.labels"):
        publish_contracts("p", {"events": ONE, "labels": broken}, known, sender)
    assert sender.sent == []


def test_a_change_that_can_is_published(topic, sender):
    source, known = topic
    publish(source, ONE, "p.events")
    newer = Contract.parse(
        {
            "type": "record",
            "name": "Event",
            "fields": [{"name": "x", "type": "int"}, {"name": "y", "type": ["null", "int"], "default": None}],
        }
    )
    assert publish_contracts("p", {"events": newer}, known, sender) == ["p.events"]
