from dataclasses import replace

import pytest

from tidemill.processors.training.gates import Gates, Parity, Trial
from tidemill.processors.training.gates.behaviour import (
    behaviour_gates,
    crash_gate,
    invariance_gate,
    latency_gate,
    memory_gate,
)
from tidemill.processors.training.gates.provenance import newer_gate, parity_gate, rows_gate


def test_a_good_trial_passes_all(good_trial):
    results = behaviour_gates(good_trial, Gates())
    assert [(result.name, result.passed) for result in results] == [
        ("crash", True),
        ("invariance", True),
        ("latency", True),
        ("memory", True),
    ]


def test_a_candidate_that_fails_on_rows(good_trial):
    result = crash_gate(replace(good_trial, failed=2, extremes_failed=5, complaint="the model raised KeyError: 'XX'."))
    assert not result.passed
    assert result.message == (
        "It fails on 2 and 5 of 2,000 rows as served and 100 with extremes: the model raised KeyError: 'XX'."
    )
    assert not crash_gate(good_trial, unanswered=3).passed
    assert not crash_gate(Trial()).passed


def test_after_a_run_that_came_to_no_end_nothing_else_is_said():
    (result,) = behaviour_gates(Trial(failure="its process was ended by SIGSEGV while it was probed"), Gates())
    assert (result.name, result.passed) == ("crash", False)
    assert result.message.endswith("to no end: its process was ended by SIGSEGV while it was probed.")


def test_scores_that_depend_on_company(good_trial):
    result = invariance_gate(replace(good_trial, differing=1))
    assert not result.passed
    assert result.message.startswith("1 of 4,000 scores differ")
    assert not invariance_gate(replace(good_trial, compared=0)).passed


@pytest.mark.parametrize(
    ("slow", "said"),
    [
        ({"load_ms": 40_000}, "loading takes 40,000.0 ms (limit 30,000)"),
        ({"row_p99_ms": 501}, "one event alone takes 501.0 ms (limit 500)"),
        ({"batch_p99_ms": 10_001}, "a batch of 10,000 takes 10,001.0 ms (limit 10,000)"),
    ],
)
def test_slow_ones(good_trial, slow, said):
    result = latency_gate(replace(good_trial, **slow), Gates())
    assert not result.passed
    assert result.message == f"Too slow: {said}; 99th percentiles."


def test_limits_that_are_off(good_trial):
    slow = replace(good_trial, load_ms=1e9, row_p99_ms=1e9, batch_p99_ms=1e9)
    assert latency_gate(slow, Gates(load_ms=None, latency_ms=None, batch_ms=None)).passed
    assert "memory" not in [result.name for result in behaviour_gates(good_trial, Gates(memory_mb=None))]


def test_memory(good_trial):
    assert not memory_gate(good_trial, Gates(memory_mb=40)).passed
    assert "add 50 MiB to a process (limit 40)" in memory_gate(good_trial, Gates(memory_mb=40)).message


def test_a_trial_survives_json(good_trial):
    assert Trial.from_record(good_trial.record()) == good_trial


# Where rows come from


def test_enough_rows(world, make_world):
    assert rows_gate(world.examination()).passed
    result = rows_gate(make_world(rows=99).examination())
    assert not result.passed
    assert result.message == "There are 99 rows to examine it on; at least 100 are needed."


def test_rows_must_be_newer(world, make_world):
    assert newer_gate(world.examination()).passed
    result = newer_gate(world.examination(rows=world.table(start=1_000)))
    assert not result.passed
    assert "has learnt 1,000 of the 2,000 rows" in result.message
    older = make_world(seed=5).table(start=50_000)
    result = newer_gate(world.examination(trained=older))
    assert not result.passed
    assert "not newer than those learnt" in result.message


def test_rows_may_be_newer_by_their_labels_alone(world):
    learnt = world.table(start=100_000)
    rows = world.table(start=10_000)
    late = rows.set_column(2, "label_time", learnt["event_time"].combine_chunks().cast("int64")).set_column(
        2, "label_time", [[200_000] * 2_000]
    )
    result = newer_gate(world.examination(rows=late, trained=learnt))
    assert result.passed
    assert "by when labels were known" in result.message


def test_parity(world):
    assert parity_gate(world.examination()).passed
    result = parity_gate(world.examination(parity=Parity(500, 499)))
    assert not result.passed
    assert "499 of 500 rows" in result.message
    assert not parity_gate(world.examination(parity=Parity(0, 0))).passed
