import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tidemill.local_workers import local_workers
from tidemill.streams.health import Health, serve
from tidemill.streams.metrics import Metrics
from tidemill.streams.ports import Prepared, StageCounts


@pytest.fixture
def note(tmp_path):
    def write(name, pid, address):
        content = {"pid": pid, "stages": ["feature_enrichment", "online_inference"], "slot": name, "metrics": address}
        (tmp_path / f"{name}.json").write_text(json.dumps(content))

    return write


def test_what_a_worker_says_of_itself(tmp_path, note):
    metrics, health = Metrics(), Health(lambda: 1.0)
    counts = {
        "feature_enrichment": StageCounts(5, {"enrichment_failed": 1}),
        "online_inference": StageCounts(3, {"model_raised": 2}),
    }
    metrics.committed(Prepared([], [], {}, counts), np.zeros(6))
    metrics.last_commit.set(1_700_000_000.5)
    metrics.serves("m7", True)
    note("a-0", os.getpid(), f"127.0.0.1:{serve(metrics.registry, health, '127.0.0.1', 0)}")
    (worker,) = local_workers(tmp_path)
    assert (worker.slot, worker.stages) == ("a-0", ("feature_enrichment", "online_inference"))
    assert (worker.accepted, worker.rejected, worker.commits_aborted) == (3, 3, 0)
    assert (worker.ready, worker.model, worker.last_commit) == (False, "m7", 1_700_000_000.5)
    stop = health.watching(lambda: False)
    stop()
    stop()
    (worker,) = local_workers(tmp_path)
    assert worker.ready


def test_who_does_not_answer_is_listed_and_who_has_ended_is_not(tmp_path, note):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    note("a-0", os.getpid(), "127.0.0.1:1")
    note("a-1", ended.pid, "127.0.0.1:1")
    assert [(worker.slot, worker.ready) for worker in local_workers(tmp_path)] == [("a-0", None)]
    assert list(local_workers(tmp_path / "nothing")) == []


def test_a_worker_without_a_model_serves_none(tmp_path, note):
    health = Health(lambda: 1.0)
    note("a-0", os.getpid(), f"127.0.0.1:{serve(Metrics().registry, health, '127.0.0.1', 0)}")
    (worker,) = local_workers(tmp_path)
    assert (worker.model, worker.accepted) == (None, 0)
