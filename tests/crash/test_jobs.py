"""Job runners, killed while jobs run: each trigger ends in one record and is announced once."""

import json
import random
import subprocess
import sys
import time

import pytest

from tidemill.processors.retraining import Trigger
from tidemill.streams.jobs.status import ENDED
from tidemill.streams.kafka.admin import apply_topics
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.plan import TopicSpec
from tidemill.streams.retraining import JOBS, REQUESTS, TRIGGERS, decode_jobs, encode_trigger, trigger_row

JOB = """
import json, sys, threading, os, time

spec = json.loads(sys.stdin.readline())
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
for step in range(8):
    print(json.dumps({"step": "fitting", "progress": step / 8}), flush=True)
    time.sleep(0.05)
print(json.dumps({"result": {"state": "succeeded", "reason": "better", "model_version": spec["id"][:12]}}), flush=True)
"""

RUNNER = """
import json, logging, signal, sys, threading, warnings

warnings.simplefilter("error")
from tidemill.streams.jobs import Limits, LocalProcess, RunnerOptions
from tidemill.streams.jobs.service import run_jobs
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.publisher import Publisher

pipeline, servers, name, job = sys.argv[1:]
logging.basicConfig(level="INFO", stream=sys.stderr)
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
connection = Connection(servers)


def publish(job_id, result):
    # Once for each job, as the rollout log does it.
    done = {record.key for record in Follower(connection, f"{pipeline}.models").catch_up()}
    if job_id.encode() not in done:
        sender = Publisher(connection)
        sender.send(f"{pipeline}.models", job_id.encode(), json.dumps(dict(result)).encode(), partition=0)
        sender.flush()


launcher = LocalProcess([sys.executable, job], Limits(60))
run_jobs(pipeline, connection, name, launcher, publish, stop.is_set, RunnerOptions(attempts=50, backoff=0.1))
"""


@pytest.fixture
def runners(tmp_path, kafka, pipeline_name):
    (tmp_path / "runner.py").write_text(RUNNER)
    (tmp_path / "job.py").write_text(JOB)
    topics = [(JOBS, 1), (REQUESTS, 1), ("models", 1), (TRIGGERS, 4)]
    specs = [TopicSpec(f"{pipeline_name}.{suffix}", count, {}, "") for suffix, count in topics]
    apply_topics(Connection(kafka.bootstrap_servers), specs)
    alive = []

    def start(name):
        command = [sys.executable, str(tmp_path / "runner.py"), pipeline_name, kafka.bootstrap_servers, name]
        with (tmp_path / "log").open("ab") as log:
            alive.append(subprocess.Popen([*command, str(tmp_path / "job.py")], stdout=log, stderr=log))
        return alive[-1]

    start.log = tmp_path / "log"
    yield start
    for process in alive:
        process.kill()
        process.wait(10)


def test_each_job_ends_once_whatever_is_killed(runners, kafka, pipeline_name):
    connection, chance = Connection(kafka.bootstrap_servers), random.Random(7)
    sender, ids = Publisher(connection), [f"{number:016x}" for number in range(8)]
    for number, identity in enumerate(ids):
        _, value, headers = encode_trigger(trigger_row(pipeline_name, Trigger(identity, "request", 0, "asked")))
        sender.send(f"{pipeline_name}.{TRIGGERS}", identity.encode(), value, headers=headers, partition=number % 4)
    sender.flush()
    working = {name: runners(name) for name in ("r1", "r2")}
    reader, deadline, kills = KafkaReader(connection), time.monotonic() + 120, 0
    ended = []
    while len(set(ended)) < len(ids):
        assert time.monotonic() < deadline, f"{len(ended)} ended:\n{runners.log.read_text()[-3000:]}"
        rows = decode_jobs([record.value for record in reader.read(f"{pipeline_name}.{JOBS}", 0)])
        ended = [row["id"] for row in rows if row["state"] in ENDED]
        if kills < 2 and len(set(ended)) > 2 * kills:
            name = chance.choice(sorted(working))
            working[name].kill()
            working[name].wait(10)
            working[name], kills = runners(name), kills + 1
        time.sleep(0.05)
    for process in working.values():
        process.terminate()
        process.wait(30)
    rows = decode_jobs([record.value for record in reader.read(f"{pipeline_name}.{JOBS}", 0)])
    announced = [record.key.decode() for record in reader.read(f"{pipeline_name}.models", 0)]
    reader.close()
    assert kills == 2
    assert sorted(row["id"] for row in rows if row["state"] in ENDED) == ids
    assert sorted(announced) == ids
    assert {row["state"] for row in rows if row["state"] in ENDED} == {"succeeded"}
    assert json.loads(rows[-1]["gates"]) == []
