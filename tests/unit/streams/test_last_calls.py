"""Which model a process was asking when it died."""

import subprocess
import sys
from functools import partial

import pytest

from tidemill.streams import last_calls
from tidemill.streams.last_calls import MOST_DEATHS, LastCalls

DIE = """
import os, runpy, signal, sys
from pathlib import Path
calls = runpy.run_path(sys.argv[2])["LastCalls"](Path(sys.argv[1]))
calls.during("good/1", lambda: None)
calls.during("bad/2", lambda: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_a_death_counts_against_the_model_that_was_being_asked(tmp_path):
    path = tmp_path / "run" / "0.calls"
    for count in range(2):
        assert LastCalls(path).deaths("bad/2") == count
        assert subprocess.run([sys.executable, "-c", DIE, str(path), last_calls.__file__]).returncode == -9
    calls = LastCalls(path)
    assert (calls.deaths("bad/2"), calls.deaths("good/1")) == (2, 0)
    assert LastCalls(path).deaths("bad/2") == 2, "looking at it is no death"


def died(path, key, times=MOST_DEATHS):
    for _ in range(times):
        calls = LastCalls(path)
        with pytest.raises(GeneratorExit):
            calls.during(key, partial(_end, calls))


def _end(calls):
    """As if the process had ended here: nothing is written any more."""
    calls._map = bytearray(calls._map)
    raise GeneratorExit


def test_a_model_that_comes_back_often_is_not_what_ends_the_process(tmp_path):
    path = tmp_path / "calls"
    died(path, "a/1", 2)
    calls = LastCalls(path)
    for number in range(10):
        assert calls.deaths("a/1") == 2, number
        with pytest.raises(ValueError, match="x"):
            calls.during("a/1", lambda: int("x"))
    assert calls.deaths("a/1") == 0


def test_there_may_be_more_models_than_entries(tmp_path):
    path = tmp_path / "calls"
    died(path, "bad/1")
    for number in range(200):
        assert LastCalls(path).during(f"m{number}/1", lambda n=number: n) == number
    calls = LastCalls(path)
    assert calls.deaths("bad/1") == MOST_DEATHS
    assert [calls.during(f"m{number}/2", lambda n=number: n) for number in range(200)] == list(range(200))
