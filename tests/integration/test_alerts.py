"""Alerts on a real broker: shown, followed, acted upon, delivered."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from confluent_kafka import Producer

from tidemill.processors.drift.incident import Alarm, Span
from tidemill.processors.drift.incidents import Incidents
from tidemill.streams.access import CONTROL_TOPICS
from tidemill.streams.alerts import alert_row, decode_action, encode_alert
from tidemill.streams.kafka.admin import apply_topics
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.plan import TopicSpec

HOUR = 3_600_000


@pytest.fixture
def mill(make_mill):
    made = make_mill()
    specs = [TopicSpec(f"{made.name}.{suffix}", 1, {}, "") for suffix in CONTROL_TOPICS]
    apply_topics(Connection(made.bootstrap_servers), specs)
    return made


class Desk:
    """Writes alerts as the control plane does."""

    def __init__(self, mill):
        self.name = mill.name
        self.incidents = Incidents(mill.name)
        self.producer = Producer({"bootstrap.servers": mill.bootstrap_servers})
        self.hour = 0

    def window(self, *subjects):
        alarms = [Alarm("data_drift", s, "", "psi", "warning", 0.4, 0.2, f"{s} has drifted") for s in subjects]
        span = Span(self.hour * HOUR, (self.hour + 1) * HOUR)
        self.hour += 1
        told = self.incidents.judged(span, {("data_drift", "")}, alarms)
        for incident in told:
            key, value, headers = encode_alert(alert_row(self.name, incident))
            self.producer.produce(f"{self.name}.drift-alerts", value, key, 0, headers=headers)
        assert self.producer.flush(30) == 0
        return [incident.id for incident in told]


def test_incidents_are_shown_and_acted_upon(mill):
    assert mill.cli("alerts", mill.name).strip() == f"{mill.name} has no incidents"
    desk = Desk(mill)
    (amount,), (shop,) = desk.window("amount"), desk.window("shop")
    for _ in range(3):
        desk.window("shop")
    shown = [json.loads(line) for line in mill.cli("alerts", mill.name, "--json").splitlines()]
    assert [(alert["id"], alert["state"]) for alert in shown] == [(amount, "resolved"), (shop, "opened")]
    assert shop in mill.cli("alerts", "show", mill.name, "--open")
    assert amount not in mill.cli("alerts", "--open", mill.name)
    refused = mill.cli("alerts", "mute", mill.name, shop[:-1] + "x", code=2)
    assert f"no open incident '{shop[:-1]}x'; did you mean '{shop}'" in refused
    assert "no open incident" in mill.cli("alerts", "acknowledge", mill.name, amount, code=2)
    assert "need --follow" in mill.cli("alerts", mill.name, "--exec", "true", code=2)
    mill.cli("alerts", "mute", mill.name, shop, "--until", "2013-03-01", "--reason", "storm", "--who", "ann")
    mill.cli("alerts", "acknowledge", mill.name, shop, "--who", "bob")
    mill.cli("alerts", "unmute", mill.name, shop, "--who", "ann")
    actions = [decode_action(m.value(), m.offset()) for m in mill.read("alert-actions")]
    assert [(a.action, a.who, a.until, a.reason) for a in actions] == [
        ("mute", "ann", 1362096000000, "storm"),
        ("acknowledge", "bob", None, ""),
        ("unmute", "ann", None, ""),
    ]
    assert {a.id for a in actions} == {shop}


def test_alerts_are_followed_and_a_command_runs_for_each(mill, tmp_path):
    desk, told = Desk(mill), tmp_path / "told"
    command = f'echo "$TIDEMILL_ALERT_SUBJECT $TIDEMILL_ALERT_STATE" >> {told}; test $TIDEMILL_ALERT_STATE = opened'
    desk.window("before")
    said = []
    arguments = ("alerts", "show", mill.name, "--follow", "--timeout", "4", "--exec", command)
    following = threading.Thread(target=lambda: said.append(mill.cli(*arguments)))
    with mill.client() as client:
        alerts = client.alerts(since="beginning", timeout=20)
        following.start()
        # What was there is shown, and is not told of; which it is depends on who begins first.
        first = next(iter(alerts))
        while not told.exists():
            desk.window(f"x{desk.hour}")
            time.sleep(0.05)
        following.join()
        assert first.subject == "before"
        assert (first.window_end - first.window_start).total_seconds() == 3600
        alerts.close()
    lines = told.read_text().splitlines()
    assert any(line.startswith("x") and line.endswith(" opened") for line in lines)
    failed = [line for line in lines if not line.endswith(" opened")]
    assert said[0].count("failed: it ended with 1") == len(failed)


def test_a_webhook_goes_on_where_it_was(mill, tmp_path):
    came = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append((self.headers["webhook-id"], json.loads(body)["subject"]))
            self.send_response(500 if len(came) == 1 else 200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    secret = tmp_path / "secret"
    secret.write_text("0123456789abcdef0123456789abcdef")
    url = f"http://127.0.0.1:{server.server_port}/"
    command = ("alerts", "webhook", mill.name, url, "--secret-file", str(secret), "--timeout", "2")
    try:
        desk = Desk(mill)
        desk.window("one", "two")
        assert "delivered 2 alerts" in mill.cli(*command, "--since", "beginning")
        desk.window("three")
        assert "delivered 1 alerts" in mill.cli(*command)
        assert [subject for _, subject in came] == ["one", "one", "two", "three"]
        assert came[0] == came[1]
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
