"""A commit under way: what may happen meanwhile, and what waits for it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tidemill.schemas.errors import CommitAborted
from tidemill.streams.in_flight import InFlight
from tidemill.streams.ports import Prepared

DEADLINE = 10


class Task:
    def __init__(self):
        self.calls = []

    def committed(self, prepared):
        self.calls.append(("committed", prepared.offsets[0]))

    def assigned(self, partition):
        self.calls.append(("assigned", partition))
        return 7

    def revoked(self, partition):
        self.calls.append(("revoked", partition))


class Commit:
    """A commit that lasts until it is let go."""

    def __init__(self, failure=None):
        self.failure, self.gate = failure, threading.Event()

    def __call__(self):
        assert self.gate.wait(DEADLINE)
        if self.failure:
            raise self.failure
        return 12.5


@pytest.fixture
def executor():
    with ThreadPoolExecutor(1) as made:
        yield made


def prepared(offset=1):
    return Prepared([], [], {0: offset})


def test_without_an_executor_it_has_landed_at_once():
    task = Task()
    flight = InFlight(task)
    assert not flight.background
    assert flight.settle() is None
    flight.start(prepared(3), lambda: 5.0)
    landed = flight.settle()
    assert (landed.prepared.offsets, landed.seconds) == ({0: 3}, 5.0)
    assert task.calls == [("committed", 3)]
    assert flight.settle() is None


def test_start_does_not_wait_and_settle_does(executor):
    task, commit = Task(), Commit()
    flight = InFlight(task, executor)
    flight.start(prepared(), commit)
    assert task.calls == []
    commit.gate.set()
    assert flight.settle().seconds == 12.5
    assert task.calls == [("committed", 1)]


@pytest.mark.parametrize("change", ["assigned", "revoked"])
def test_a_partition_comes_or_goes_only_when_it_has_landed(executor, change):
    task, commit = Task(), Commit()
    flight = InFlight(task, executor)
    flight.start(prepared(), commit)
    rebalance = threading.Thread(target=lambda: getattr(flight, change)(4))
    rebalance.start()
    rebalance.join(0.05)
    assert rebalance.is_alive()
    assert task.calls == []
    commit.gate.set()
    rebalance.join(DEADLINE)
    assert task.calls == [("committed", 1), (change, 4)]
    assert flight.settle() is not None
    assert len(task.calls) == 2


def test_a_failure_is_raised_by_settle_and_not_inside_a_rebalance(executor):
    task, commit = Task(), Commit(CommitAborted("rolled back"))
    flight = InFlight(task, executor)
    flight.start(prepared(), commit)
    commit.gate.set()
    assert flight.assigned(2) == 7
    with pytest.raises(CommitAborted, match="rolled back"):
        flight.settle()
    assert task.calls == [("assigned", 2)]
    assert flight.settle() is None


def test_one_at_a_time(executor):
    commit = Commit()
    flight = InFlight(Task(), executor)
    flight.start(prepared(), commit)
    with pytest.raises(AssertionError, match="settle the one before"):
        flight.start(prepared(), commit)
    commit.gate.set()
    flight.close()
