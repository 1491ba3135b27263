"""Processes that are killed, in the middle of many small transactions: nothing is lost, doubled or left behind."""

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

SMALL = ("--max-batch", "40")
HARNESS = Path(__file__).parents[2] / "benchmarks"
HOOK = """
import os, pathlib, sys
sys.path.insert(0, {harness!r})
import chaos_strike
chaos_strike.install(pathlib.Path(os.environ["TIDEMILL_HOME"]))
"""
# `make chaos` kills in every step; here in those of which each leaves something else behind.
STEPS = ("some_outputs", "offsets", "commit")


@pytest.fixture(scope="module")
def mill(make_mill):
    """A pipeline with a worker that commits often; the tests go on from each other."""
    mill = make_mill(make_mill.source + HOOK.format(harness=str(HARNESS)))
    mill.supervisor = mill.run(*SMALL)
    mill.wait(0)
    mill.sent = 0
    return mill


def send_more(mill, orders, count):
    mill.send(orders.make(count, seed=mill.sent, start=mill.sent))
    mill.sent += count


def ended(processes, seconds):
    return not psutil.wait_procs(processes, seconds)[1]


def test_a_worker_that_is_killed_in_each_step_of_a_commit(mill, orders):
    mill.home.mkdir(exist_ok=True)
    for kills, step in enumerate(STEPS, 1):
        (mill.home / "arming").write_text(json.dumps({"step": step, "passes": 3}))
        (mill.home / "arming").rename(mill.home / "arm")
        send_more(mill, orders, 600)
        mill.wait(mill.sent)
        assert not (mill.home / "arm").exists(), f"no worker has passed {step}"
        assert mill.log().count("ended by signal SIGKILL; starting it again") == kills
    assert orders.check(mill) == mill.sent
    assert mill.audit()["holds"]


@pytest.mark.slow
def test_a_supervisor_that_is_killed(mill, orders):
    """Its worker notices, commits what it has in hand and ends; another supervisor takes over its place."""
    send_more(mill, orders, 2_000)
    mill.wait(mill.sent - 1_800)
    workers = mill.wait_for_workers(mill.supervisor, 1)
    mill.supervisor.kill()
    assert ended(workers, 20)
    assert len(mill.wait(0)) < mill.sent
    mill.supervisor = mill.run(*SMALL)
    mill.wait(mill.sent)
    assert orders.check(mill) == mill.sent
    assert mill.audit()["holds"]


@pytest.mark.slow
def test_both_killed_at_once(mill, orders):
    send_more(mill, orders, 2_000)
    mill.wait(mill.sent - 1_800)
    workers = mill.wait_for_workers(mill.supervisor, 1)
    mill.supervisor.kill()
    for worker in workers:
        worker.kill()
    mill.supervisor = mill.run(*SMALL)
    mill.wait(mill.sent)
    assert orders.check(mill) == mill.sent
    assert mill.audit()["holds"]


@pytest.mark.slow
def test_ctrl_c_in_the_middle(mill, orders):
    """A terminal's Ctrl-C goes to the whole process group: an exit in good order all the same."""
    send_more(mill, orders, 2_000)
    mill.wait(mill.sent - 1_800)
    workers = mill.wait_for_workers(mill.supervisor, 1)
    os.killpg(mill.supervisor.pid, signal.SIGINT)
    assert mill.supervisor.wait(30) == 0
    assert ended(workers, 0)
    assert mill.audit()["holds"]
    assert mill.audit()["waiting"] > 0
    mill.supervisor = mill.run(*SMALL)
    mill.wait(mill.sent)
    assert orders.check(mill) == mill.sent
    assert mill.audit()["waiting"] == 0
    assert mill.stop(mill.supervisor) == 0
