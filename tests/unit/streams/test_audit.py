import json

import pytest

from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams import audit as audits
from tidemill.streams.audit import audit
from tidemill.streams.rejections import RejectedRow


class Topics:
    """A pipeline's topics as a test wants them."""

    def __init__(self, log, plan):
        self.log, self.plan = log, plan
        self.codec = Codec(plan.contracts["predictions"], KnownSchemas())
        self.told = []

    def events(self, *offsets, partition=0):
        for offset in offsets:
            self.log.append("tides.events", partition, b"k", b"v", offset=offset)

    def predict(self, *offsets, partition=0, source=None):
        for offset in offsets:
            prediction = {
                "event_id": "e",
                "event_key": None,
                "event_time": 0,
                "source_partition": partition if source is None else source,
                "source_offset": offset,
                "model_version": "m",
                "value": True,
                "probability_false": 0.0,
                "probability_true": 1.0,
            }
            self.log.append("tides.predictions", partition, b"k", self.codec.encode_rows([prediction])[0])

    def reject(self, *offsets, partition=0, source=None, topic="tides.events"):
        for offset in offsets:
            source = partition if source is None else source
            row = RejectedRow("sanity_check", "r", "m", topic, source, offset, 0, None, None)
            self.log.append("tides.rejected", partition, None, b"v", headers=row.headers())

    def reached(self, offset, partition=0):
        position = json.dumps({"source_offset": offset}).encode()
        self.log.append("tides.changelog", partition, b"position/online_inference", position)

    def audit(self):
        contract = self.plan.contracts["predictions"]
        return audit("tides", contract, KnownSchemas([contract]), self.log, self.told.append)


@pytest.fixture
def topics(log, plan):
    return Topics(log, plan)


def counted(result):
    return {
        name: getattr(result, name)
        for name in ("events", "predictions", "rejections", "missing", "doubled", "waiting", "unknown")
        if getattr(result, name)
    }


def test_every_event_answered_once(topics):
    topics.events(0, 1, 3, 4)  # offset 2 is a transaction's marker
    topics.predict(0, 3)
    topics.reject(1, 4)
    topics.reached(5)
    (result,) = topics.audit()
    assert counted(result) == {"events": 4, "predictions": 2, "rejections": 2}
    assert result.holds
    assert sum(topics.told) == 8


def test_missing_and_waiting(topics):
    topics.events(*range(10))
    topics.predict(0, 2, 4)
    topics.reached(3)
    topics.reached(6)
    (result,) = topics.audit()
    assert counted(result) == {"events": 10, "predictions": 3, "missing": 3, "waiting": 4}
    assert result.first_missing == [1, 3, 5]
    assert not result.holds


def test_before_the_first_commit_everything_waits(topics):
    topics.events(0, 1)
    (result,) = topics.audit()
    assert counted(result) == {"events": 2, "waiting": 2}
    assert result.holds


@pytest.mark.parametrize("answers", [("predict", "predict"), ("reject", "reject"), ("predict", "reject")])
def test_doubled(topics, answers):
    topics.events(*range(8))
    topics.predict(7)
    for answer in answers:
        getattr(topics, answer)(0, 1, 2, 3, 4, 5, 6)
    topics.reached(8)
    (result,) = topics.audit()
    assert result.doubled == 7
    assert result.first_doubled == [0, 1, 2, 3, 4]
    assert result.predictions + result.rejections == 15
    assert not result.holds


def test_an_event_answered_very_often_is_still_doubled(topics):
    topics.events(0)
    topics.predict(*[0] * 255)
    topics.reject(0)
    topics.reached(1)
    (result,) = topics.audit()
    assert (result.doubled, result.missing) == (1, 0)


def test_answers_to_no_event_are_unknown(topics):
    topics.events(5, 6, 8)
    topics.log.first["tides.events", 0] = 5
    topics.predict(1, 5, 6, 8, 99)
    topics.reject(2, 7)
    topics.reached(9)
    (result,) = topics.audit()
    assert counted(result) == {"events": 3, "predictions": 3, "unknown": 4}
    assert result.holds


def test_answers_on_the_wrong_partition_or_unreadable_are_unknown(topics):
    topics.events(0)
    topics.predict(0, source=1)
    topics.reject(0, source=1)
    topics.log.append("tides.predictions", 0, None, b"garbage")
    topics.log.append("tides.rejected", 0, None, b"garbage")
    topics.log.append("tides.rejected", 0, None, b"v", headers=[("__streams.errors.topic", b"tides.events")])
    topics.predict(0)
    topics.reached(1)
    (result,) = topics.audit()
    assert counted(result) == {"events": 1, "predictions": 1, "unknown": 5}


def test_what_was_rejected_from_another_topic_answers_no_event(topics):
    topics.events(0)
    topics.reject(0, topic="tides.validated")
    topics.predict(0)
    topics.reached(1)
    (result,) = topics.audit()
    assert counted(result) == {"events": 1, "predictions": 1}


def test_each_partition_by_itself(topics):
    topics.events(0, partition=0)
    topics.events(0, partition=2)
    topics.predict(0, partition=2)
    topics.reached(1, partition=2)
    first, second = topics.audit()
    assert (first.partition, counted(first)) == (0, {"events": 1, "waiting": 1})
    assert (second.partition, counted(second)) == (2, {"events": 1, "predictions": 1})


def test_a_long_topic_is_looked_at_in_pieces(topics, monkeypatch):
    monkeypatch.setattr(audits, "CHUNK", 4)
    topics.events(*range(11))
    topics.predict(0, 1, 1, 4, 5, 9, 20)
    topics.reject(2, 8, 9)
    topics.reached(10)
    (result,) = topics.audit()
    assert counted(result) == {
        "events": 11,
        "predictions": 6,
        "rejections": 3,
        "missing": 3,
        "doubled": 2,
        "waiting": 1,
        "unknown": 1,
    }
    assert (result.first_missing, result.first_doubled) == ([3, 6, 7], [1, 9])


def test_an_empty_topic(topics):
    topics.log.topics["tides.events", 0].clear()
    (result,) = topics.audit()
    assert counted(result) == {}
