"""A worker that stands still for longer than the group waits, and then goes on as if nothing had happened."""

import signal

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("delivery", ["exactly-once"])
def test_a_worker_that_comes_back_too_late(make_mill, orders, delivery):
    mill = make_mill()
    options = ("--max-batch", "20", "--delivery", delivery)
    first = mill.run(*options)
    mill.wait(0)
    mill.send(orders.make(300))
    mill.wait(300)
    second = mill.run(*options, home="elsewhere")
    mill.wait_for_members(2)
    mill.send(orders.make(6_000, seed=2, start=300))
    mill.wait(1_500)
    (zombie,) = mill.wait_for_workers(first, 1)
    zombie.send_signal(signal.SIGSTOP)
    # Its partitions go to the other one, after the group has missed it and its open transaction has run out.
    mill.wait(6_300)
    zombie.send_signal(signal.SIGCONT)
    mill.wait_for_members(2)
    mill.send(orders.make(500, seed=3, start=6_300))
    mill.wait(6_800)
    assert orders.check(mill) == 6_800
    assert mill.audit()["holds"]
    print(mill.log())
    assert first.poll() is None
    assert mill.stop(first) == mill.stop(second) == 0
