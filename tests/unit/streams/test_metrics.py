import math

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from tidemill.streams.metrics import ArrayHistogram, Metrics
from tidemill.streams.ports import Prepared, StageCounts


def test_a_histogram_counts_as_prometheus_own_does():
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    array = ArrayHistogram("seconds", "Time.", (0.1, 1, 10), ours)
    single = Histogram("seconds", "Time.", buckets=(0.1, 1, 10), registry=theirs)
    values = np.array([0.0, 0.05, 0.1, 0.1000001, 1.0, 5.0, 10.0, 99.0])
    array.observe(values)
    array.observe(np.array([]))
    for value in values:
        single.observe(value)

    def lines(registry):
        return [line for line in generate_latest(registry).decode().splitlines() if "created" not in line]

    assert lines(ours) == lines(theirs)


def test_quantiles_are_told_by_their_bucket():
    histogram = ArrayHistogram("seconds", "Time.", (0.1, 1, 10), CollectorRegistry())
    assert math.isnan(histogram.quantile(0.5))
    histogram.observe(np.array([0.05] * 5 + [0.5] * 4 + [99.0]))
    assert [histogram.quantile(q) for q in (0.01, 0.5, 0.51, 0.9, 1.0)] == [0.1, 0.1, 1.0, 1.0, 10.0]


@pytest.fixture
def metrics():
    return Metrics()


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def test_a_committed_batch_is_counted_by_stage_reason_and_check(metrics):
    counts = {
        "sanity_check": StageCounts(3, {"out_of_range": 2, "duplicate_id": 1}, {"present(x)": 4}),
        "online_inference": StageCounts(3),
    }
    for _ in range(2):
        metrics.committed(Prepared([], [], {}, counts), np.array([0.5, 0.5]))
    assert value(metrics, "tidemill_events_total", stage="sanity_check", outcome="accepted") == 6
    assert value(metrics, "tidemill_events_total", stage="sanity_check", outcome="rejected") == 6
    assert value(metrics, "tidemill_events_total", stage="online_inference", outcome="accepted") == 6
    assert value(metrics, "tidemill_rejected_total", reason="out_of_range") == 4
    assert value(metrics, "tidemill_warned_total", check="present(x)") == 8
    assert value(metrics, "tidemill_batch_events_sum") == 4
    assert value(metrics, "tidemill_event_latency_seconds_count") == 4
    assert value(metrics, "tidemill_event_latency_seconds_sum") == 2.0


def test_the_lag_is_shown_of_the_partitions_that_it_has(metrics):
    metrics.lags({0: 5, 1: 7})
    metrics.lags({1: 6})
    assert value(metrics, "tidemill_consumer_lag", partition="0") is None
    assert value(metrics, "tidemill_consumer_lag", partition="1") == 6


def test_models_served_and_refused(metrics):
    metrics.serves("m1", True)
    metrics.serves("m2", False)
    assert value(metrics, "tidemill_model_info", version="m1") == 1
    assert value(metrics, "tidemill_models_refused_total") == 1
    metrics.serves("m3", True)
    assert value(metrics, "tidemill_model_info", version="m1") is None


def test_two_workers_in_one_process_do_not_share_metrics():
    one, other = Metrics(), Metrics()
    one.aborted.inc()
    assert value(other, "tidemill_commits_aborted_total") == 0
