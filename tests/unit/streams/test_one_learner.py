import pytest

from tidemill.schemas.errors import Fenced
from tidemill.streams.learner import OneLearner
from tidemill.streams.memory import MemoryLog, MemorySender, MemoryTransactions


class Taken:
    def commit(self, outputs):
        raise Fenced("another one has the name")


def test_a_learner_that_has_lost_its_name_announces_nothing():
    log = MemoryLog({"p.models": 1, "p.model-artefacts": 1})
    sender = OneLearner("p.models", MemorySender(log), Taken())
    sender.send("p.model-artefacts", b"a", b"chunk", partition=0)
    with pytest.raises(Fenced):
        sender.send("p.models", b"v", b"announcement", partition=0)
    assert [log.end(topic, 0) for topic in ("p.models", "p.model-artefacts")] == [0, 1]


def test_one_that_has_it_does():
    log = MemoryLog({"p.models": 1, "p.model-artefacts": 1})
    sender = OneLearner("p.models", MemorySender(log), MemoryTransactions(log))
    sender.send("p.model-artefacts", b"a", b"chunk", partition=0)
    sender.flush()
    assert sender.first_offset("p.model-artefacts") == 0
    sender.send("p.models", b"v", b"announcement", partition=0)
    assert log.end("p.models", 0) == 1
