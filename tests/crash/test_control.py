"""The control plane, killed while profiles come, loses no alert and makes none up."""

import contextlib
import importlib.util
import json
import random
import subprocess
import sys
import threading
import time

import pytest
from confluent_kafka import Producer

from tidemill.processors.drift.incident import Action
from tidemill.streams.alerts import ACTIONS, ALERTS, alert_row, encode_action, encode_alert
from tidemill.streams.control import STATE
from tidemill.streams.kafka.admin import apply_topics
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.plan import TopicSpec
from tidemill.streams.profile_log import PROFILES

CONTROL = """
import json, logging, signal, sys, threading, warnings
from dataclasses import dataclass

warnings.simplefilter("error")
from tidemill.processors.drift.incident import Alarm
from tidemill.processors.drift.incidents import IncidentPolicy, Incidents
from tidemill.processors.drift.sequences import Sequences
from tidemill.processors.drift.verdict import Judgement
from tidemill.processors.drift.windows import Delta, WindowKey, Windows
from tidemill.streams.control import ControlOptions, run_control
from tidemill.streams.control_metrics import ControlMetrics
from tidemill.streams.control_plane import ControlPlane
from tidemill.streams.control_state import ControlState
from tidemill.streams.kafka.connection import Connection


@dataclass
class Total:
    rows: int
    sum: int

    def merge(self, other):
        return Total(self.rows + other.rows, self.sum + other.sum)


class Judge:
    seen = 0

    def window(self, span, kind, profiles):
        self.seen += 1
        alarms = []
        for key, merged in profiles.items():
            mean = merged.profile.sum / merged.profile.rows
            if mean > 1:
                text = f"window {self.seen}: {merged.profile}"
                alarms.append(Alarm("data_drift", "x", key.slice, "mean", "warning", mean, 1.0, text))
        return Judgement(alarms, {("data_drift", key.slice) for key in profiles})

    def outcomes(self, blocks):
        return []

    def save(self):
        return self.seen

    def restore(self, saved):
        self.seen = saved


def make_state():
    def pack(profile):
        return json.dumps([profile.rows, profile.sum]).encode()

    incidents = Incidents("mill", IncidentPolicy(resolve_after=2, remind_every=3))
    windows = Windows(2, {"features": 100}, None)
    return ControlState(windows, Sequences(2, None), incidents, Judge(), pack, lambda value: Total(*json.loads(value)))


def read(records):
    return [delta(record) for record in records]


def delta(record):
    start, source, slice_, value = json.loads(record.value)
    key = WindowKey(start, start + 1000, "features", slice_, "")
    place = record.partition, record.offset
    return Delta(key, place, record.timestamp, source, {0: start + 900}, Total(1, value))


if __name__ == "__main__":
    name, servers = sys.argv[1:]
    logging.basicConfig(level="INFO", stream=sys.stderr)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    plane = ControlPlane("mill", make_state, read, ControlMetrics())
    run_control(name, Connection(servers), plane, ControlOptions(None), stop.is_set)
"""


class Control:
    """A control plane as a process of its own."""

    def __init__(self, folder, name, servers):
        self.log = folder / "log"
        self.command = [sys.executable, str(folder / "control.py"), name, servers]
        self.start()

    def start(self):
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait(10)

    def wait_for(self, condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"waited for {what}:\n{self.log.read_text()[-3000:]}"
            time.sleep(0.05)


@pytest.fixture
def control(tmp_path, kafka, pipeline_name):
    (tmp_path / "control.py").write_text(CONTROL)
    # Its topics are what a pipeline declares.
    specs = [TopicSpec(f"{pipeline_name}.{suffix}", 1, {}, "") for suffix in (PROFILES, STATE, ALERTS, ACTIONS)]
    apply_topics(Connection(kafka.bootstrap_servers), specs)
    made = Control(tmp_path, pipeline_name, kafka.bootstrap_servers)
    yield made
    made.kill()


def messages(seed):
    """Deltas of two sources in commits, as two tasks write them: some commits are aborted."""
    chance, windows = random.Random(seed), 60
    clocks = [0, 0]
    while min(clocks) < windows:
        source = chance.choice([n for n in (0, 1) if clocks[n] < windows])
        number = clocks[source]
        level = 3 if 10 <= number < 18 or 30 <= number < 45 else 1
        rows = [(number * 1000, source, s, chance.choice([0, level])) for s in ("", "a=b") for _ in range(3)]
        aborted = chance.random() < 0.2
        clocks[source] += not aborted and chance.random() < 0.7
        yield rows, aborted


def produce(servers, topic):
    # Compressed as workers do it.
    settings = {"bootstrap.servers": servers, "transactional.id": topic, "compression.type": "lz4", "log_level": 0}
    producer = Producer(settings)
    producer.init_transactions()
    for rows, aborted in messages(seed=3):
        producer.begin_transaction()
        for row in rows:
            producer.produce(topic, json.dumps(row).encode(), partition=0)
        producer.flush()
        producer.abort_transaction() if aborted else producer.commit_transaction()
        time.sleep(0.05)


def expected(folder, records, actions):
    """What one that is never disturbed says, computed in this process."""
    spec = importlib.util.spec_from_file_location("control_under_test", folder / "control.py")
    module = importlib.util.module_from_spec(spec)
    with contextlib.ExitStack() as stack:
        import warnings

        stack.enter_context(warnings.catch_warnings())
        spec.loader.exec_module(module)
    state = module.make_state()
    for record in records:
        state.take(module.delta(record))
    for action in actions:
        state.act(action)
    said = [encode_alert(alert_row("mill", incident)) for incident in state.drain().alerts]
    return {(key, dict(headers)["ce_id"]): value for key, value, headers in said}


def test_a_control_plane_that_is_killed_says_what_an_undisturbed_one_says(control, tmp_path, kafka, pipeline_name):
    connection, topic = Connection(kafka.bootstrap_servers), f"{pipeline_name}.{PROFILES}"
    reader = KafkaReader(connection)

    def alerts():
        found = reader.read(f"{pipeline_name}.{ALERTS}", 0)
        return [((record.key, dict(record.headers)["ce_id"]), record.value) for record in found]

    feed = threading.Thread(target=produce, args=(kafka.bootstrap_servers, topic))
    feed.start()
    chance = random.Random(5)
    for kills in range(3):
        control.wait_for(lambda kills=kills: control.log.read_text().count("at work") > kills, "it is at work")
        time.sleep(chance.random() * 0.3)  # any moment will do
        control.kill()
        control.start()
    feed.join()
    records = list(reader.read(topic, 0))
    want = expected(tmp_path, records, [])
    assert len(want) > 10
    control.wait_for(lambda: {place for place, _ in alerts()} >= want.keys(), "all alerts")
    control.process.terminate()
    assert control.process.wait(20) == 0
    said = alerts()
    assert dict(said) == want
    assert all(want[place] == value for place, value in said)
    assert records[-1].offset > len(records)
    reader.close()


def test_an_action_reaches_the_incident(control, tmp_path, kafka, pipeline_name):
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
    for number in range(3):
        for source in (0, 1):
            row = (number * 1000, source, "", 5)
            producer.produce(f"{pipeline_name}.{PROFILES}", json.dumps(row).encode(), partition=0)
    producer.flush()
    reader = KafkaReader(Connection(kafka.bootstrap_servers))

    def alerts():
        return list(reader.read(f"{pipeline_name}.{ALERTS}", 0))

    control.wait_for(alerts, "an alert")
    identity = alerts()[0].key.decode()
    key, value = encode_action({"id": identity, "action": "acknowledge", "who": "ann", "reason": "known"})
    producer.produce(f"{pipeline_name}.{ACTIONS}", value, key)
    producer.flush()
    control.wait_for(lambda: len(alerts()) == 2, "the acknowledged alert")
    want = expected(
        tmp_path,
        reader.read(f"{pipeline_name}.{PROFILES}", 0),
        [Action(identity, "acknowledge", "ann", None, "known", 0)],
    )
    assert [record.value for record in alerts()] == list(want.values())
    reader.close()
