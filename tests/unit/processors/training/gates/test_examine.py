import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.training.gates import Fairness, Gates, Verdict, examine

ALL = Gates(
    slices={"origin": 0.02},
    sensitive={"sex": Fairness(demographic_parity=0.1, equalised_odds=0.1)},
    resamples=200,
)
NAMES = (
    *("rows", "newer", "champion", "baseline", "slices", "fairness", "calibration", "leakage", "parity"),
    *("crash", "invariance", "latency", "memory"),
)


def test_a_good_candidate_passes_every_gate(world):
    verdict = examine(world.examination(gates=ALL))
    assert verdict.passed
    assert tuple(result.name for result in verdict.results) == NAMES
    assert verdict.left_out == {}
    assert verdict.reason == "All 13 gates are passed."
    assert all(result.message.endswith(".") and result.figures for result in verdict.results)


def test_the_same_examination_gives_the_same_verdict(world):
    given = world.examination(gates=ALL)
    assert examine(given) == examine(replace(given))


def test_the_first_model_must_pass_all_others(world, sigmoid):
    first = world.examination(gates=ALL, champion=None)
    verdict = examine(first)
    assert verdict.passed
    assert verdict.left_out == {"champion": "a champion's scores on enough rows"}
    poor = replace(first, candidate=sigmoid(world.noise))
    assert "baseline" in examine(poor).refused_by


def label_leak(world, sigmoid, trial):
    knows = np.where(world.labels, 9.0, -9.0)
    learnt = world.table().append_column("delay", pa.array(knows))
    served = world.table(10_000).append_column("delay", pa.nulls(len(knows), pa.float64()))
    return {"trained": learnt, "rows": served, "features": ("x", "delay")}


def biased(world, sigmoid, trial):
    return {"candidate": np.where((world.origin == "LGA")[:, None], sigmoid(-world.truth), sigmoid(world.truth))}


def unfair(world, sigmoid, trial):
    return {"candidate": sigmoid(world.truth + np.where(world.sex == "f", 0.7, -0.7))}


def too_sure(world, sigmoid, trial):
    return {"candidate": sigmoid(4 * world.truth), "champion": sigmoid(-world.truth)}


def raising(world, sigmoid, trial):
    return {"trial": replace(trial, extremes_failed=1, complaint="the model raised ValueError: no")}


def dying(world, sigmoid, trial):
    return {"trial": replace(trial, failure="its process was ended by SIGKILL while it was probed")}


def mixing_rows(world, sigmoid, trial):
    return {"trial": replace(trial, differing=7)}


def slow(world, sigmoid, trial):
    return {"trial": replace(trial, row_p99_ms=900)}


def large(world, sigmoid, trial):
    return {"trial": replace(trial, memory_mb=5_000)}


def no_better(world, sigmoid, trial):
    return {"champion": sigmoid(world.truth)}


def memorised(world, sigmoid, trial):
    return {"trained": world.table(10_000)}


@pytest.mark.parametrize(
    ("poison", "gate"),
    [
        (label_leak, "leakage"),
        (biased, "slices"),
        (unfair, "fairness"),
        (too_sure, "calibration"),
        (raising, "crash"),
        (dying, "crash"),
        (mixing_rows, "invariance"),
        (slow, "latency"),
        (large, "memory"),
        (no_better, "champion"),
        (memorised, "newer"),
    ],
)
def test_a_poisoned_candidate_is_refused_by_its_gate(world, sigmoid, good_trial, poison, gate):
    given = world.examination(gates=ALL)
    verdict = examine(replace(given, **poison(world, sigmoid, good_trial)))
    assert not verdict.passed
    assert gate in verdict.refused_by
    assert f"{gate}: " in verdict.reason


def test_each_poison_that_concerns_one_gate_is_refused_by_that_alone(world, sigmoid, good_trial):
    given = world.examination(gates=ALL)
    for poison, gate in ((raising, "crash"), (slow, "latency"), (large, "memory"), (no_better, "champion")):
        assert examine(replace(given, **poison(world, sigmoid, good_trial))).refused_by == (gate,)


def test_what_is_missing_is_left_out_and_said(world):
    given = world.examination(gates=ALL, trial=None, parity=None, rows=None, trained=None)
    verdict = examine(given)
    assert set(verdict.left_out) == {"newer", "leakage", "parity", "crash", "invariance", "latency", "memory"}
    assert verdict.passed


def test_a_candidate_without_an_answer_is_refused_even_untried(world):
    scores = world.examination().candidate
    scores[3] = np.nan
    verdict = examine(world.examination(candidate=scores, trial=None))
    assert verdict.refused_by == ("crash",)
    assert verdict.result("crash").figures["unanswered"] == 1


def test_a_candidate_that_answers_nothing(world):
    verdict = examine(world.examination(gates=ALL, candidate=np.full((2_000, 2), np.nan)))
    assert {"champion", "baseline", "calibration", "crash"} <= set(verdict.refused_by)


def test_too_few_rows_show_nothing(make_world):
    verdict = examine(make_world(rows=50).examination(gates=ALL))
    assert verdict.refused_by == ("rows",)
    assert {"champion", "baseline", "slices", "fairness", "calibration"} <= set(verdict.left_out)


def test_no_gates_are_no_pass():
    assert not Verdict(()).passed


def test_the_record_is_json(world):
    given = world.examination(gates=ALL, labels=np.ones(2_000, bool))
    record = json.loads(examine(given).to_json())
    assert [result["name"] for result in record] == list(NAMES)
    assert set(record[0]) == {"name", "passed", "figures", "message"}
    assert json.dumps(record, allow_nan=False)
