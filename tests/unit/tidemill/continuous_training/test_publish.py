"""What a job made goes on the rollout log once, in the role that it may have."""

from datetime import UTC, datetime

import pytest

from tidemill.continuous_training import publisher
from tidemill.streams.memory import MemoryLog
from tidemill.streams.rollout_log import RolloutLog

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def result(version, job, status="shadow"):
    announcement = {
        "model_version": version,
        "status": status,
        "job_id": job,
        "trigger_id": job,
        "by": "gates",
        "reason": "All 9 gates are passed.",
        "artefact_sha256": "0" * 64,
        "artefact_format": "skops",
        "artefact_offset": 0,
        "artefact_chunks": 1,
        "artefact_bytes": 10,
        "estimator": "Pipeline",
        "features": ["height"],
        "classes": [],
        "features_fingerprint": "0" * 16,
        "pipeline_version": "v",
        "trained_from": NOW.isoformat(),
        "trained_until": NOW.isoformat(),
        "training_offsets": [],
        "training_rows": 10,
        "evaluation_rows": 5,
        "metrics": {},
        "announced_at": NOW.isoformat(),
    }
    return {"state": "succeeded", "announcement": announcement}


@pytest.fixture
def memory():
    return MemoryLog({"tides.models": 1})


@pytest.fixture
def publish(declare, memory):
    return publisher(declare(), memory)


def statuses(memory):
    return [(event["model_version"], event["status"]) for event in RolloutLog("tides", memory).read()]


def test_the_first_model_answers_and_the_next_is_a_shadow(publish, memory):
    publish("j1", result("a", "j1"))
    publish("j2", result("b", "j2"))
    assert statuses(memory) == [("a", "champion"), ("b", "shadow")]


def test_a_job_is_published_once(publish, memory):
    for _ in range(3):
        publish("j1", result("a", "j1"))
    assert statuses(memory) == [("a", "champion")]


def test_a_refused_model_is_told_of_and_never_answers(publish, memory):
    publish("j1", result("a", "j1", "refused"))
    assert statuses(memory) == [("a", "refused")]
    assert RolloutLog("tides", memory).rollout().champion is None


def test_a_newer_challenger_takes_the_place_of_one_that_waits(publish, memory):
    for number, version in enumerate("abc"):
        publish(f"j{number}", result(version, f"j{number}"))
    assert statuses(memory) == [("a", "champion"), ("b", "shadow"), ("b", "retired"), ("c", "shadow")]


def test_the_same_bytes_as_the_champion_change_nothing(publish, memory):
    publish("j1", result("a", "j1"))
    publish("j2", result("a", "j2"))
    assert statuses(memory) == [("a", "champion")]


def test_without_a_model_there_is_nothing_to_say(publish, memory):
    publish("j1", {"state": "refused", "reason": "too little"})
    assert statuses(memory) == []
