import os
import socket
import subprocess
from pathlib import Path

import pytest

from tidemill.schemas.errors import BrokerError
from tidemill.streams.broker import EmbeddedBroker, settings
from tidemill.streams.broker.folder import BrokerFolder
from tidemill.streams.broker.security import Passwords


@pytest.fixture
def folder(tmp_path):
    folder = BrokerFolder(tmp_path)
    folder.write_settings(9092)
    return folder


def test_a_root_that_never_had_a_broker_is_not_running_and_stays_empty(tmp_path):
    broker = EmbeddedBroker(tmp_path / "none")
    assert not broker.status().running
    assert not broker.stop()
    assert not broker.kill()
    assert not (tmp_path / "none").exists()


def test_too_little_room_is_refused_before_anything_is_downloaded(tmp_path):
    broker = EmbeddedBroker(tmp_path, port=0, minimum_free_bytes=10**18)
    with pytest.raises(BrokerError, match=r"needs 1000000000\.0 GB free under .*TIDEMILL_HOME"):
        broker.start()
    assert not (tmp_path / "kafka" / "jars").exists()


def test_a_port_taken_by_another_program_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        with pytest.raises(BrokerError, match=f"port {port} of 127.0.0.1 is taken by another program: stop that, or"):
            EmbeddedBroker(tmp_path, port=port).start()


def test_a_root_that_cannot_be_made_is_a_brokers_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(BrokerError, match=r"cannot write to .*TIDEMILL_HOME"):
        EmbeddedBroker(tmp_path / "file").start()


def test_a_stale_pid_file_that_names_a_stranger_means_not_running(tmp_path):
    (tmp_path / "kafka").mkdir()
    (tmp_path / "kafka" / "broker.pid").write_text(str(os.getpid()))
    broker = EmbeddedBroker(tmp_path)
    assert not broker.status().running
    assert not broker.stop()


def test_the_port_is_read_back_from_the_settings(folder):
    assert folder.port() == 9092
    folder.properties.write_text("nothing=here\n")
    with pytest.raises(BrokerError, match="names no listener"):
        folder.port()


def test_last_words_are_the_errors_of_this_start(folder):
    folder.log.write_text("… ERROR of an earlier start\n")
    since = folder.log_end()
    with folder.log.open("a") as log:
        log.write("… INFO fine\n… ERROR the disk is on fire\nCaused by: heat\n… INFO bye\n")
    folder.console.write_text("a word of the JVM\n")
    words = folder.last_words(since).splitlines()
    assert words[1:] == ["a word of the JVM", "… ERROR the disk is on fire", "Caused by: heat"]


def test_last_words_without_an_error_are_the_end_of_the_log(folder):
    folder.log.write_text("".join(f"… INFO {number}\n" for number in range(20)))
    assert folder.last_words(0).splitlines()[-1] == "… INFO 19"
    assert len(folder.last_words(0).splitlines()) == 9


def test_the_data_is_measured_by_the_room_it_takes(folder):
    (folder.data / "topic-0").mkdir(parents=True)
    (folder.data / "topic-0" / "0.log").write_bytes(b"x" * 100_000)
    with (folder.data / "topic-0" / "0.index").open("wb") as sparse:
        sparse.truncate(10 << 20)
    assert 100_000 <= folder.used_bytes() < 1_000_000
    assert settings.DATA in str(folder.data)


def test_open_data_is_not_taken_for_secure_nor_secure_data_for_open(folder):
    folder.require(secure=True)
    folder.data.mkdir()
    folder.require(secure=False)
    with pytest.raises(BrokerError, match=r"was made without --secure, open to everyone .*another TIDEMILL_HOME"):
        folder.require(secure=True)
    Passwords.draw().save(folder.path / "passwords.json")
    folder.require(secure=True)
    with pytest.raises(BrokerError, match="was made with --secure: start the broker with --secure"):
        folder.require(secure=False)


def test_a_secure_brokers_settings_are_private_and_its_port_is_read_back(folder):
    Passwords.draw().save(folder.path / "passwords.json")
    folder.write_settings(19092)
    assert folder.port() == 19092
    assert {path.stat().st_mode & 0o777 for path in (folder.properties, folder.credentials)} == {0o600}
    assert "bootstrap.servers=127.0.0.1:19092" in folder.credentials.read_text()


def test_no_password_is_on_a_command_line(folder, monkeypatch):
    """The tool that formats the data gets them in a file, which is gone when it has ended."""
    seen = []

    def run(command, **_):
        assert command[-1].startswith("@")
        arguments = Path(command[-1][1:])
        assert arguments.stat().st_mode & 0o777 == 0o600
        seen.append((" ".join(map(str, command)), arguments.read_text()))
        (folder.path / "data.new").mkdir()
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    folder.format(Path("java"), "classpath", secure=True)
    passwords = folder.passwords()
    ((command, arguments),) = seen
    assert f"SCRAM-SHA-512=[name=admin,password={passwords.admin}]" in arguments
    assert not [word for word in vars(passwords).values() if word in command]
    assert [path for path in folder.path.iterdir() if path.name.startswith("format.")] == []
    assert folder.path.stat().st_mode & 0o777 == 0o700
