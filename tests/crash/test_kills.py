"""Processes that are killed, in the middle of many small transactions: nothing is lost, doubled or left behind."""

import os
import random
import signal

import psutil
import pytest

SMALL = ("--max-batch", "40")


@pytest.fixture(scope="module")
def mill(make_mill):
    """A pipeline with a worker that commits often; the tests go on from each other."""
    mill = make_mill()
    mill.supervisor = mill.run(*SMALL)
    mill.wait(0)
    mill.sent = 0
    return mill


def send_more(mill, orders, count):
    mill.send(orders.make(count, seed=mill.sent, start=mill.sent))
    mill.sent += count


def ended(processes, seconds):
    return not psutil.wait_procs(processes, seconds)[1]


def test_a_worker_that_is_killed_again_and_again(mill, orders):
    chance = random.Random(3)
    send_more(mill, orders, 3_000)
    killed = set()
    for start in (0, 800, 1_600):
        mill.wait(start + chance.randint(1, 700))
        (worker,) = mill.wait_for_workers(mill.supervisor, 1)
        worker.kill()
        killed.add(worker.pid)
        assert len(mill.answers) < mill.sent
    mill.wait(mill.sent)
    assert len(killed) == 3
    assert mill.log().count("ended by signal SIGKILL; starting it again") == 3
    assert orders.check(mill) == mill.sent
    assert mill.audit()["holds"]


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
