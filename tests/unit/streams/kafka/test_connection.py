"""Secrets go in by files and by the environment, and come out nowhere."""

import logging
import os
import subprocess
import sys

import pytest

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
