"""A broker that is killed in the middle of a replay, and comes back."""

import time

import pytest

from tidemill.streams.broker import EmbeddedBroker


# With the longer time a transaction is over before the broker comes back, which then finds one to abort.
@pytest.mark.parametrize("seconds", [1, pytest.param(12, marks=pytest.mark.slow)])
def test_a_broker_that_is_killed_and_started_again(make_mill, orders, tmp_path, jar_cache, seconds):
    with EmbeddedBroker(tmp_path, port=0, jars=jar_cache) as broker:
        mill = make_mill(bootstrap_servers=broker.bootstrap_servers)
        supervisor = mill.run("--max-batch", "40")
        mill.wait(0)
        mill.send(orders.make(2_000))
        mill.wait(500)
        assert broker.kill()
        time.sleep(seconds)
        broker.start()
        mill.wait(2_000, 120)
        print(mill.log())
        assert orders.check(mill) == 2_000
        assert mill.audit()["holds"]
        assert mill.stop(supervisor) == 0
        mill.close()
