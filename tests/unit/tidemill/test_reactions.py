"""What happens outside when an alert comes: a command, a webhook."""

import base64
import hashlib
import hmac
import json
import threading
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from tidemill.reactions import run_command
from tidemill.results import Alert
from tidemill.schemas.errors import DeclarationError
from tidemill.webhook import Position, Webhook, deliver_all, read_secret

SECRET = b"0123456789abcdef"


@pytest.fixture
def alert():
    at = datetime(2013, 3, 1, tzinfo=UTC)
    found = {
        "kind": "data_drift",
        "subject": "amount; rm -rf $HOME",
        "slice": "",
        "detector": "psi",
        "severity": "warning",
    }
    measured = {"statistic": 0.4, "threshold": 0.2, "effect": None, "estimated": False, "reference": "m1"}
    when = dict.fromkeys(("window_start", "window_end", "opened_at", "updated_at"), at)
    people = {"muted": False, "acknowledged_by": None, "note": ""}
    told = {"message": "it\nis `ls`", "evidence": '{"bins": [1]}', "offsets": [{"partition": 0, "first": 1, "last": 2}]}
    return Alert("a" * 16, 0, "opened", "shop", **found, **measured, **when, **people, **told)


def test_a_command_gets_the_alert_as_json_and_in_its_environment(alert, tmp_path):
    target = tmp_path / "out"
    command = (
        f'cat > {target}; echo "$TIDEMILL_ALERT_SUBJECT|$TIDEMILL_ALERT_STATE|$TIDEMILL_ALERT_EFFECT|$X" >> {target}'
    )
    assert run_command(command, alert, {"PATH": "/usr/bin:/bin", "X": "y"}) is None
    first, second = target.read_text().splitlines()
    assert json.loads(first)["evidence"] == {"bins": [1]}
    assert json.loads(first)["window_start"] == "2013-03-01T00:00:00+00:00"
    assert second == "amount; rm -rf $HOME|opened||y"


def test_a_command_that_fails_or_hangs_is_told_of(alert):
    assert run_command("exit 3", alert) == "it ended with 3"
    assert "longer than 0.1 s" in run_command("exec sleep 20", alert, seconds=0.1)


class Receiver:
    """A local HTTP server that answers as it is told to, and keeps what came."""

    def __init__(self):
        self.answers, self.came = [], []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.came.append((dict(self.headers), body))
                code = receiver.answers.pop(0) if receiver.answers else 204
                self.send_response(code)
                if code == 302:
                    self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


def test_a_delivery_is_signed(receiver, alert):
    hook = Webhook(receiver.url, SECRET, lambda: 1_700_000_000.9, lambda _: False)
    assert hook.deliver(alert)
    ((headers, body),) = receiver.came
    assert json.loads(body)["id"] == alert.id
    assert headers["Webhook-Id"] == f"{alert.id}.0"
    assert headers["Webhook-Timestamp"] == "1700000000"
    signed = hmac.new(SECRET, f"{alert.id}.0.1700000000.".encode() + body, hashlib.sha256).digest()
    assert headers["Webhook-Signature"] == f"v1,{base64.b64encode(signed).decode()}"


def test_it_is_sent_again_until_it_is_taken(receiver, alert):
    receiver.answers = [500, 302, 404]
    pauses = []
    assert Webhook(receiver.url, SECRET, lambda: 1.0, lambda s: pauses.append(s)).deliver(alert)
    assert pauses == [1, 2, 4]
    assert len(receiver.came) == 4
    assert len({headers["Webhook-Id"] for headers, _ in receiver.came}) == 1


def test_nobody_there_is_waited_for_until_told_to_stop(receiver, alert):
    receiver.close()
    pauses = []
    hook = Webhook(receiver.url, SECRET, lambda: 1.0, lambda s: pauses.append(s) or len(pauses) == 12)
    assert not hook.deliver(alert)
    assert pauses[-1] == pauses[-2] == 300


def test_all_are_delivered_in_order_and_the_position_is_kept(receiver, alert, tmp_path):
    alerts = [(n, replace(alert, revision=n, muted=n == 3) if n != 2 else None) for n in range(6)]
    position = Position(tmp_path / "deep" / "position.json")
    assert position.read() is None
    receiver.answers = [200, 200, 500]
    stopping = Webhook(receiver.url, SECRET, lambda: 1.0, lambda _: True)
    assert deliver_all(stopping, alerts, position) == 2
    assert position.read() == 4
    going_on = Webhook(receiver.url, SECRET, lambda: 1.0, lambda _: False)
    assert deliver_all(going_on, alerts[position.read() :], position) == 2
    assert [headers["Webhook-Id"][-1] for headers, _ in receiver.came] == ["0", "1", "4", "4", "5"]
    assert position.read() == 6


def test_a_broken_position_is_not_taken_for_none(tmp_path):
    path = tmp_path / "position.json"
    path.write_text("{}")
    with pytest.raises(DeclarationError, match="holds no position"):
        Position(path).read()


@pytest.mark.parametrize(
    ("text", "secret"),
    [("0123456789abcdef\nmore", SECRET), (f"whsec_{base64.b64encode(SECRET).decode()}\n", SECRET)],
)
def test_a_secret_is_the_first_line(tmp_path, text, secret):
    path = tmp_path / "secret"
    path.write_text(text)
    assert read_secret(path) == secret


@pytest.mark.parametrize("text", ["", "swordfish", "whsec_%%%"])
def test_a_secret_that_is_none_is_refused_and_not_shown(tmp_path, text):
    path = tmp_path / "secret"
    path.write_text(text)
    with pytest.raises(DeclarationError) as caught:
        read_secret(path)
    assert not text or text not in str(caught.value)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "example.org", "http://"])
def test_only_a_url_of_the_web_is_taken(url):
    with pytest.raises(DeclarationError, match="expected a URL"):
        Webhook(url, SECRET, lambda: 0.0, lambda _: True)
