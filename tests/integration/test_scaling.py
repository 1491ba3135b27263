"""Workers that come and go during a replay: state moves with its partition."""

from contextlib import ExitStack

import pytest

from tidemill.streams.loop import LoopOptions

SMALL = LoopOptions(max_records=50)


def decided(metrics):
    """How many events a worker's first stage has decided on."""
    count = metrics.registry.get_sample_value
    return sum(
        count("tidemill_events_total", {"stage": "sanity_check", "outcome": o}) or 0 for o in ("accepted", "rejected")
    )


@pytest.mark.slow
def test_from_one_worker_to_three_to_two(make_mill, orders):
    mill = make_mill()
    with ExitStack() as rest:
        with mill.worker(slot="a", loop=SMALL) as first:
            mill.send(orders.make(2_000))
            mill.wait(300)
            second, third = (rest.enter_context(mill.worker(slot=slot, loop=SMALL)) for slot in ("b", "c"))
            mill.wait_for_members(3)
            mill.send(orders.make(2_000, seed=2, start=2_000))
            mill.wait(3_000)
        mill.wait_for_members(2)
        mill.send(orders.make(1_000, seed=3, start=4_000))
        mill.wait(5_000)
    assert orders.check(mill) == 5_000
    assert mill.audit()["holds"]
    assert min(decided(first), decided(second), decided(third)) > 300
    assert decided(first) + decided(second) + decided(third) >= 5_000
