"""Rows that are kept, evidence in batches, what is fitted when."""

from dataclasses import replace

import numpy as np
import pytest

from tidemill.processors.adaptation import DEFAULT, ESTIMATORS, Budget
from tidemill.processors.adaptation.evidence import Evidence
from tidemill.processors.adaptation.history import History
from tidemill.processors.adaptation.schedule import Schedule


def test_history_gives_back_the_newest_rows_in_any_blocks() -> None:
    history, chance = History(2, limit=150), np.random.default_rng(0)
    rows, labels = chance.normal(size=(1_000, 2)), chance.integers(0, 3, 1_000)
    at = 0
    while at < 1_000:
        size = int(chance.integers(1, 90))
        history.add(rows[at : at + size], labels[at : at + size])
        at = min(at + size, 1_000)
        for start in (0, at - 200, at - 100, at - 1):
            start, oldest = max(start, 0), max(at - 150, 0)
            kept, codes = history.span(start, at)
            assert np.array_equal(kept, rows[max(start, oldest) : at].astype(np.float32))
            assert np.array_equal(codes, labels[max(start, oldest) : at])
    assert history.end == 1_000


def test_noise_is_no_evidence_and_a_lead_is() -> None:
    chance = np.random.default_rng(1)
    noise, lead = Evidence(least=6), Evidence(least=6)
    for _ in range(20):
        first = chance.exponential(size=50)
        noise.add(first, chance.exponential(size=50))
        lead.add(first, first - 0.1 + 0.05 * chance.normal(size=50))
    assert abs(noise.score) < 3
    assert lead.score > 10
    assert lead.mean == pytest.approx(0.1, abs=0.01)


def test_evidence_waits_for_enough_batches_and_bears_equals() -> None:
    evidence = Evidence(least=3)
    for expected in (0.0, 0.0):
        evidence.add(np.ones(50), np.zeros(50))
        assert evidence.score == expected
    equals = Evidence(least=2)
    for _ in range(4):
        equals.add(np.ones(50), np.ones(50))
    assert equals.score == 0.0


def schedule(fits: int = 45) -> Schedule:
    settings = replace(DEFAULT, growth=1.0, refit_every=1_000, recent=1_000, after_alarm=(100, 400))
    return Schedule(ESTIMATORS, budget=Budget(10_000, fits=fits), settings=settings)


def spent(plan: Schedule, alarms: dict[int, int]) -> list[tuple[int, str, int]]:
    found: list[tuple[int, str, int]] = []
    for row in range(1_000, 10_001, 50):
        if row in alarms:
            plan.alarm(alarms[row])
        found += [(row, estimator.name, start) for estimator, start in plan.due(row, spent=2 + len(found))]
    return found


def test_everything_is_fitted_at_intervals() -> None:
    found = spent(schedule(), {})
    assert [row for row, name, _ in found if name == "history"] == list(range(2_000, 10_001, 1_000))
    assert {start for _, name, start in found if name == "history"} == {0}
    assert all(start == row - 1_000 for row, name, start in found if name == "recent")


def test_after_an_alarm_recent_models_are_fitted_on_rows_since_the_change_alone() -> None:
    found = spent(schedule(), {4_200: 4_130})
    extra = [(row, name, start) for row, name, start in found if row % 1_000]
    assert extra == [(row, name, 4_130) for row in (4_250, 4_550) for name in ("recent", "linear")]


def test_many_alarms_stay_within_the_budget_and_leave_what_intervals_need() -> None:
    alarms = {row: row for row in range(1_500, 10_000, 600)}
    found = spent(schedule(fits=35), alarms)
    assert len(found) + 2 <= 35
    # What would be fitted at the very end is not kept for.
    assert [row for row, name, _ in found if name == "history"][:8] == list(range(2_000, 9_001, 1_000))


def test_intervals_grow_with_the_rows_up_to_a_limit() -> None:
    plan = Schedule(ESTIMATORS, budget=Budget(), settings=replace(DEFAULT, growth=0.5, refit_every=5_000))
    rows = [row for row in range(1_000, 30_000, 50) if plan.due(row, spent=0)]
    gaps = np.diff([1_000, *rows])
    assert rows[:3] == [1_500, 2_250, 3_400]
    assert list(gaps) == sorted(gaps)
    assert set(gaps[-3:]) == {5_000}
