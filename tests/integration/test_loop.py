"""The loop closes on a real broker: labels lead to a first model, requests to challengers, each job ends once."""

import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from tidemill.streams.jobs.status import ENDED
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.retraining import decode_jobs
from tidemill.streams.rollout_log import RolloutLog

SOURCE = """
import polars as pl
from sklearn.linear_model import LogisticRegression

import tidemill as tm

reading = {
    "type": "record", "name": "Reading", "fields": [
        {"name": "id", "type": "string"},
        {"name": "machine", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "heat", "type": "double"},
    ],
}
fault = {
    "type": "record", "name": "Fault", "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "failed", "type": "boolean"},
    ],
}
pipeline = tm.Pipeline(
    "PIPELINE",
    tm.Events(reading, key="machine", time="at", id="id"),
    features=[tm.fields("heat")],
    labels=tm.Labels(fault, id="id", label=pl.col("failed"), time="at"),
    model=tm.Model(LogisticRegression(), ["heat"], prior=0.5, search_trials=1),
    retrain=tm.Retrain(least_labels=600),
    partitions=2,
)
"""
COUNT = 1_200


@pytest.fixture
def mill(make_mill):
    return make_mill(SOURCE)


def world(seed=7):
    """Readings, and their faults half an hour later: the hotter, the likelier."""
    start, state = datetime(2024, 1, 1, tzinfo=UTC), seed
    for number in range(COUNT):
        state = (state * 1103515245 + 12345) % 2**31
        heat = state / 2**31
        at = start + timedelta(minutes=number)
        state = (state * 1103515245 + 12345) % 2**31
        yield (
            {"id": f"e{number}", "machine": f"m{number % 7}", "at": at, "heat": heat},
            {"id": f"e{number}", "at": at + timedelta(minutes=30), "failed": state / 2**31 < 0.05 + 0.9 * heat},
        )


def test_labels_lead_to_a_model_and_requests_to_challengers_once(mill):
    connection = Connection(mill.bootstrap_servers)
    rollouts = RolloutLog(mill.name, connection)

    def wait_for(holds, what, seconds=200):
        deadline = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < deadline, f"waited for {what}:\n{mill.log()[-6000:]}"
            time.sleep(0.2)
        return found

    events, faults = zip(*world(), strict=True)
    with mill.worker(stages=("sanity_check", "feature_enrichment", "online_inference", "label_intake", "outcomes")):
        mill.start("control", str(mill.file), "--metrics-port", "0")
        runner = mill.start("jobs", "run", str(mill.file), "--no-tracking", "--backoff", "0.1")
        with mill.client() as client:
            client.send_many(events)
            client.send_labels(faults)
            client.flush()
            first = wait_for(lambda: rollouts.rollout().champion, "a first model")
            # Whoever asks twice under one name gets one job; a runner that is killed meanwhile does not change that.
            for _ in range(2):
                client.retrain("ada", reason="new sensors", request_id="sensors")
            wait_for(lambda: [job for job in client.jobs() if job.cause == "request"], "a job for the request")
            runner.kill()
            runner.wait(10)
            mill.start("jobs", "run", str(mill.file), "--no-tracking", "--backoff", "0.1")
            wait_for(lambda: [job for job in client.jobs() if job.cause == "request" and job.state in ENDED], "its end")
            asked = [trigger for trigger in client.triggers() if trigger.cause == "request"]
    (trigger,) = asked
    assert (trigger.state, trigger.who) == ("fired", "ada")
    rows = decode_jobs([message.value() for message in mill.read("training-jobs")])
    ends = Counter(row["id"] for row in rows if row["state"] in ENDED)
    assert set(ends.values()) == {1}
    (end,) = (row for row in rows if row["id"] == trigger.id and row["state"] in ENDED)
    assert (end["state"], end["attempt"]) == ("refused", 2)
    gates = {gate["name"]: gate["passed"] for gate in json.loads(end["gates"])}
    assert {"champion", "baseline", "leakage", "parity", "latency"} <= gates.keys()
    assert [name for name, passed in gates.items() if not passed] == ["champion"]
    records = rollouts.read()
    assert [record["status"] for record in records if record["job_id"] == trigger.id] == ["refused"]
    assert first.event["reason"].startswith("is the first model")
    assert first.event["metrics"]["log_loss"] < first.event["metrics"]["base_log_loss"]
    assert "# Model card" in first.event["card"]
    assert mill.audit()["missing"] == 0
    assert "same bytes" in mill.cli("datasets", "rebuild", end["dataset"])
    assert mill.cli("verify", mill.name)
    shown = mill.cli("jobs", "show", mill.name, trigger.id)
    assert "new sensors" in shown
    assert "champion" in shown
