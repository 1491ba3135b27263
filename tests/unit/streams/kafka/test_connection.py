"""Secrets go in by files and by the environment, and come out nowhere."""

import logging
import os
import subprocess
import sys

import pytest
from confluent_kafka import KafkaError, KafkaException

from tidemill.schemas.errors import StreamError
from tidemill.streams.kafka.client_settings import read_settings
from tidemill.streams.kafka.connection import Connection, client_log
from tidemill.streams.kafka.registry import Registry

SENTINEL = "swordfish-4711"
SECRETS = (
    *("sasl.password", "ssl.key.password", "ssl.keystore.password", "sasl.oauthbearer.client.secret"),
    *("sasl.oauthbearer.config", "ssl.key.pem", "sasl.oauthbearer.assertion.private.key.passphrase"),
)


@pytest.fixture
def environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith("TIDEMILL_"):
            monkeypatch.delenv(name)
    return monkeypatch


def test_a_file_and_over_it_the_environment(tmp_path):
    (tmp_path / "kafka").write_text("# ours\nssl.ca.location=/ca.pem\nsasl.username = file\nbootstrap.servers=k:1\n")
    (tmp_path / "word").write_text(f"{SENTINEL}\n")
    found = read_settings(
        {
            "TIDEMILL_KAFKA_CONFIG": str(tmp_path / "kafka"),
            "TIDEMILL_KAFKA_SASL_USERNAME": "environment",
            "TIDEMILL_KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "word"),
            "TIDEMILL_HOME": "elsewhere",
        }
    )
    assert dict(found) == {
        "ssl.ca.location": "/ca.pem",
        "sasl.username": "environment",
        "sasl.password": SENTINEL,
        "bootstrap.servers": "k:1",
    }


@pytest.mark.parametrize("name", SECRETS)
def test_secrets_are_masked_wherever_settings_are_shown(name):
    connection = Connection("k:1", {name: SENTINEL, "sasl.username": "mill"})
    assert connection.client()[name] == SENTINEL
    for shown in (connection, connection.settings, connection.client(group_id="g")):
        assert SENTINEL not in repr(shown) + str(shown) + f"{shown}"
        assert "mill" in repr(shown)
    assert connection.hide(f"bad value {SENTINEL}") == "bad value ***"


def test_the_cluster_may_be_named_by_option_variable_file_or_default(tmp_path, environment):
    (tmp_path / "kafka").write_text("bootstrap.servers=file:1\n")
    assert Connection.from_environment(None, "default:1").bootstrap_servers == "default:1"
    environment.setenv("TIDEMILL_KAFKA_CONFIG", str(tmp_path / "kafka"))
    assert Connection.from_environment(None, "default:1").client()["bootstrap.servers"] == "file:1"
    environment.setenv("TIDEMILL_BOOTSTRAP_SERVERS", "variable:1")
    assert Connection.from_environment(None).bootstrap_servers == "variable:1"
    assert Connection.from_environment("option:1").client()["bootstrap.servers"] == "option:1"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (f"sasl.pasword={SENTINEL}", 'No such configuration property: "sasl.pasword"'),
        (f"security.protocol=ssl\nssl.key.pem={SENTINEL}", "ssl.key.pem"),
        ("security.protocol=ssl\nssl.ca.location=/nowhere/ca.pem", "ssl.ca.location"),
        (f"sasl.password {SENTINEL}", "expected key=value"),
    ],
)
def test_settings_that_cannot_be_are_refused_without_their_secrets(tmp_path, environment, lines, words):
    (tmp_path / "kafka").write_text(lines)
    environment.setenv("TIDEMILL_KAFKA_CONFIG", str(tmp_path / "kafka"))
    with pytest.raises(StreamError) as refusal:
        Connection.from_environment("k:1")
    assert words in str(refusal.value)
    assert SENTINEL not in str(refusal.value)


def test_a_command_that_fails_prints_no_secret(tmp_path):
    """As users see it: standard output and error of a process, with the client library's own log in it."""
    (tmp_path / "word").write_text(SENTINEL)
    environment = os.environ | {
        "TIDEMILL_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "TIDEMILL_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "TIDEMILL_KAFKA_SASL_USERNAME": "mill",
        "TIDEMILL_KAFKA_SASL_PASSWORD_FILE": str(tmp_path / "word"),
        "TIDEMILL_KAFKA_DEBUG": "conf,security",
        "TIDEMILL_KAFKA_SSL_CA_LOCATION": "/nowhere/ca.pem",
        "TIDEMILL_KAFKA_SASL_OAUTHBEARER_METHOD": SENTINEL,
    }
    command = [sys.executable, "-m", "tidemill", "models", "list", "mill", "--bootstrap-servers", "127.0.0.1:1"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "are not accepted" in ended.stderr
    assert SENTINEL not in ended.stdout + ended.stderr


def test_a_registrys_password_is_not_in_its_errors():
    registry = Registry(f"http://mill:{SENTINEL}@127.0.0.1:1")
    with pytest.raises(StreamError) as refusal:
        registry.by_id(1)
    assert SENTINEL not in str(refusal.value)
    assert "http://***@127.0.0.1:1" in str(refusal.value)


def test_a_lost_connection_is_a_warning_and_a_refused_password_an_error(caplog):
    lost = "FAIL [thrd:GroupCoordinator]: SASL authentication error: Local: Broker transport failure (after 0ms)"
    refused = "FAIL [thrd:kafka:9092]: SASL authentication error: Authentication failed: invalid credentials"
    with caplog.at_level(logging.WARNING, client_log.name):
        for text in (lost, refused):
            client_log.error(text)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", lost),
        ("ERROR", refused),
    ]
    caplog.clear()
    with caplog.at_level(logging.ERROR, client_log.name):
        client_log.error(lost)
    assert not caplog.records


def test_a_rebalance_that_ends_a_transaction_is_told_as_handled_and_nothing_else_is(caplog):
    failed = "TXNERR [thrd:main]: Current transaction failed in state InTransaction: Failed to commit offsets ({})"
    handled = [failed.format(f"{name})") for name in ("ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID")]
    real = [failed.format("TOPIC_AUTHORIZATION_FAILED"), "FATAL [thrd:main]: Fatal error: (ILLEGAL_GENERATION)"]
    with caplog.at_level(logging.INFO, client_log.name):
        for text in (*handled, *real):
            client_log.error(text)
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "ERROR", "ERROR"]


class Login:
    """In place of librdkafka: what the cluster answers to each look, and whether it refuses the user."""

    def __init__(self, answers, settings):
        self.answers, self.note, self.looks = answers, settings["error_cb"], 0

    def list_topics(self, timeout):
        answer = self.answers[min(self.looks, len(self.answers) - 1)]
        self.looks += 1
        if answer is not None:
            raise KafkaException(KafkaError(answer))

    def poll(self, timeout):
        if self.answers[min(self.looks, len(self.answers)) - 1] == KafkaError._AUTHENTICATION:
            self.note(KafkaError(KafkaError._AUTHENTICATION, f"invalid credentials {SENTINEL}"))


@pytest.mark.parametrize(
    ("answers", "let_in"),
    [
        ([None], True),
        # A broker that is away has refused nobody, and a user may be new.
        ([KafkaError._TRANSPORT], True),
        ([KafkaError._AUTHENTICATION, KafkaError._AUTHENTICATION, None], True),
        ([KafkaError._TRANSPORT, KafkaError._AUTHENTICATION], False),
    ],
)
def test_a_refused_user_is_an_error_after_a_moment(answers, let_in, environment):
    from tidemill.streams.kafka import connection

    made = []
    environment.setattr(connection, "AdminClient", lambda settings: made.append(Login(answers, settings)) or made[-1])
    environment.setattr(connection, "_LOGIN_SECONDS", 0.2)
    for name, value in (("USERNAME", "mill"), ("PASSWORD", SENTINEL), ("MECHANISM", "SCRAM-SHA-512")):
        environment.setenv(f"TIDEMILL_KAFKA_SASL_{name}", value)
    if let_in:
        assert Connection.from_environment("k:1").bootstrap_servers == "k:1"
        return
    with pytest.raises(StreamError, match="k:1 does not let in the user 'mill'") as raised:
        Connection.from_environment("k:1")
    assert SENTINEL not in str(raised.value)
