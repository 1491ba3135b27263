"""A learner against a naive one: any cut of the log, any restart, the same order and the same models."""

import heapq

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model

from tidemill.processors.learning import Learning
from tidemill.processors.online_inference.target import Target
from tidemill.processors.training.arrivals import OFFSET, PARTITION, Arrivals
from tidemill.processors.training.learner import Learner

LOGS = st.lists(st.lists(st.integers(0, 50), max_size=20), min_size=1, max_size=4)
"""By partition the label times of its outcomes, in log order."""
EVERY = st.one_of(st.integers(1, 9), st.sampled_from(["7ms", "20ms"]))


def rows(partition, times, first):
    at = pa.array([time * 1_000 for time in times], pa.timestamp("us", "UTC"))
    numbers = [float((partition * 31 + (first + n) * 17) % 13) for n in range(len(times))]
    return pa.table({"x": numbers, "label": [n % 3 > 1 for n in numbers], "label_time": at, "event_time": at})


def naive(log):
    """The order: of each partition the next row, of those the one that was known first."""
    heads, order = [(times[0], p, 0) for p, times in enumerate(log) if times], []
    heapq.heapify(heads)
    while heads:
        known, partition, offset = heapq.heappop(heads)
        order.append((partition, offset))
        if offset + 1 < len(log[partition]):
            heapq.heappush(heads, (max(known, log[partition][offset + 1]), partition, offset + 1))
    return order


@settings(max_examples=40)
@given(LOGS, st.data())
def test_the_order_is_that_of_the_log_however_it_is_read(log, data):
    arrivals, read, found = Arrivals(range(len(log))), [0] * len(log), []
    while True:
        for partition, times in enumerate(log):
            stop = data.draw(st.integers(read[partition], len(times)))
            chunk = times[read[partition] : stop]
            arrivals.add(partition, rows(partition, chunk, read[partition]), np.arange(read[partition], stop))
            read[partition] = stop
        # Quiet is only what has nothing more to come.
        quiet = {p for p, times in enumerate(log) if read[p] == len(times)}
        ready = arrivals.ready(quiet)
        if ready is not None:
            ready = ready.slice(0, data.draw(st.integers(1, len(ready))))
            arrivals.drop(ready)
            found += zip(ready[PARTITION].to_pylist(), ready[OFFSET].to_pylist(), strict=True)
        elif len(quiet) == len(log):
            break
    assert found == naive(log)


def learn(log, every, lives):
    """The versions of a learner that is started again after so many steps, each with a chunk of so many rows."""
    made, versions = None, []
    for steps, chunk in lives:
        learner = Learner(linear_model.LogisticRegression(), ["x"], ["x"], Target((False, True)), Learning(every=every))
        if made is not None:
            learner.resume(made.artefact, announcement(made))
        arrivals, read = Arrivals(range(len(log))), [learner.position.get(p, 0) for p in range(len(log))]
        for _ in range(steps):
            for partition, times in enumerate(log):
                if not arrivals.waiting(partition):
                    stop = min(read[partition] + chunk, len(times))
                    part = rows(partition, times[read[partition] : stop], read[partition])
                    arrivals.add(partition, part, np.arange(read[partition], stop))
                    read[partition] = stop
            ready = arrivals.ready({p for p, times in enumerate(log) if read[p] == len(times)})
            if ready is None:
                continue
            count, version = learner.take(ready)
            arrivals.drop(ready.slice(0, count))
            if version is not None:
                learner.accept(version)
                arrivals.restart()
                made = version
                versions.append(version)
    return versions


def announcement(version):
    return {
        "artefact_sha256": version.artefact.sha256,
        "training_offsets": [{"partition": p, "first": a, "last": b} for p, (a, b) in version.offsets.items()],
        "training_rows": version.training_rows,
        "trained_from": version.trained_from,
        "trained_until": version.trained_until,
    }


@settings(max_examples=25)
@given(LOGS, EVERY, st.lists(st.tuples(st.integers(0, 6), st.integers(1, 9)), max_size=4))
def test_a_learner_that_is_killed_makes_the_same_versions(log, every, lives):
    expected = learn(log, every, [(200, 100)])
    found = learn(log, every, [*lives, (200, 3)])
    assert found == expected
