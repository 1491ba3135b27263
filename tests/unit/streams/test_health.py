import urllib.error
import urllib.request

import pytest
from prometheus_client import CollectorRegistry, Counter

from tidemill.streams.health import Health, serve


class Clock:
    seconds = 100.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


def test_ready_after_the_first_round_and_until_it_is_told_to_stop(clock):
    health = Health(clock)
    answers = iter([False, False, True])
    stop = health.watching(lambda: next(answers))
    assert (health.live, health.ready) == (True, False)
    assert not stop()
    assert not health.ready
    assert not stop()
    assert health.ready
    assert stop()
    assert (health.live, health.ready) == (True, False)


def test_a_loop_that_does_not_come_round_is_neither(clock):
    health = Health(clock, stalled_seconds=30)
    stop = health.watching(lambda: False)
    stop()
    stop()
    clock.seconds += 31
    assert (health.live, health.ready) == (False, False)
    health.beat()
    assert (health.live, health.ready) == (True, True)


def test_what_is_served(clock):
    registry, health = CollectorRegistry(), Health(clock)
    Counter("tidemill_test", "A test.", registry=registry)
    port = serve(registry, health, "127.0.0.1", 0)

    def get(path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as refused:
            return refused.code, refused.read()

    assert b"tidemill_test_total 0.0" in get("/metrics")[1]
    assert get("/live") == (200, b"live\n")
    assert get("/ready") == (503, b"not ready\n")
    stop = health.watching(lambda: False)
    stop()
    stop()
    assert get("/ready") == (200, b"ready\n")
    clock.seconds += 1_000
    assert get("/live") == (503, b"not live\n")
    with pytest.raises(OSError, match="in use"):
        serve(registry, health, "127.0.0.1", port)
