import gc
import threading

import pytest

from tidemill.schemas.errors import ModelDeadline
from tidemill.streams.deadline import Deadline


def test_what_is_in_time_is_answered():
    assert Deadline(30)(lambda: 7) == 7


def test_what_is_raised_in_time_is_raised_here():
    def fail():
        raise TimeoutError("of the model's own")

    deadline = Deadline(30)
    with pytest.raises(TimeoutError, match="own"):
        deadline(fail)
    assert deadline(lambda: 7) == 7


def test_a_call_that_hangs_is_given_up_and_the_next_ones_are_refused_until_it_is_back():
    back, calls = threading.Event(), []
    deadline = Deadline(0.05)
    with pytest.raises(ModelDeadline, match="expected an answer from the model within its deadline"):
        deadline(lambda: back.wait(60))
    with pytest.raises(ModelDeadline, match="come back from an earlier batch"):
        deadline(lambda: calls.append("made while the model hangs"))
    late = deadline._late
    back.set()
    assert late.result(60) is True
    assert deadline(lambda: "scores") == "scores"
    assert calls == []


def test_a_late_answer_is_not_taken_for_the_next_one():
    back = threading.Event()
    deadline = Deadline(0.05)
    with pytest.raises(ModelDeadline):
        deadline(lambda: back.wait(60) and "late")
    late = deadline._late
    back.set()
    late.result(60)
    assert deadline(lambda: "new") == "new"


def test_the_thread_ends_with_its_model():
    before = set(threading.enumerate())
    deadline = Deadline(30)
    (thread,) = set(threading.enumerate()) - before
    deadline(lambda: 7)
    del deadline
    gc.collect()
    thread.join(60)
    assert not thread.is_alive()
    assert thread.daemon
