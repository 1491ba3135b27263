"""All stages fused in one worker, or each in a worker of its own: the same topics and the same bytes."""

import signal

import psutil
import pytest

from tidemill.streams.loop import LoopOptions

pytestmark = pytest.mark.timeout(300)
EACH = ("--stages", "each")
TOPICS = ("validated", "features", "predictions", "rejected")


@pytest.fixture(scope="module")
def mill(make_mill, orders):
    """A pipeline that has answered 500 orders fused, and then 500 more with each stage by itself."""
    mill = make_mill()
    with mill.worker(loop=LoopOptions(max_records=100)):
        mill.send(orders.make(500))
        mill.wait(500)
    mill.separate = mill.run(*EACH, "--max-batch", "70")
    mill.send(orders.make(500, seed=2, start=500))
    mill.wait(1_000)
    return mill


def test_each_stage_has_a_process(mill):
    assert len(mill.workers(mill.separate)) == 5


def test_nothing_is_lost_doubled_or_forgotten_on_the_change(mill, orders):
    assert orders.check(mill) == 1_000
    assert mill.audit()["holds"]
    assert mill.audit()["waiting"] == 0


def test_another_layout_is_refused_while_one_runs(mill):
    for stages in ("all", "sanity_check,feature_enrichment"):
        refused = mill.cli("run", str(mill.file), "--stages", stages, code=2)
        assert refused.startswith("error: ")
        assert "already runs" in refused
        assert "start with the same --stages" in refused
    assert mill.separate.poll() is None


def test_the_same_events_lead_to_the_same_bytes(mill, make_mill):
    """The log again, under another name, through stages in one process and in other batches."""
    other = make_mill()
    with other.worker():
        events = mill.read("events")
        other.replay(events)
        other.wait(len(events))
    for suffix in TOPICS:
        ours = [(m.partition(), m.key(), mill.unnamed(m.value())) for m in mill.read(suffix)]
        theirs = [(m.partition(), m.key(), other.unnamed(m.value())) for m in other.read(suffix)]
        assert len(ours) > 0
        assert ours == theirs, suffix


def test_a_stage_that_is_killed_is_started_again(mill, orders):
    for worker in mill.workers(mill.separate):
        if "feature_enrichment" in worker.cmdline():
            worker.kill()
    mill.send(orders.make(300, seed=3, start=1_000))
    mill.wait(1_300)
    assert orders.check(mill) == 1_300


def test_back_to_one_process(mill, orders):
    workers = mill.workers(mill.separate)
    assert mill.stop(mill.separate, signal.SIGINT) == 0
    assert psutil.wait_procs(workers, 5)[1] == []
    with mill.worker():
        mill.send(orders.make(300, seed=4, start=1_300))
        mill.wait(1_600)
    assert orders.check(mill) == 1_600
    assert mill.audit()["holds"]
