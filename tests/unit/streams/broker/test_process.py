import os
import time

import pytest

from tidemill.streams.broker import process


@pytest.fixture
def pid_file(tmp_path):
    return tmp_path / "broker.pid"


@pytest.fixture
def sleeper(tmp_path, pid_file):
    """A process of ours, and how its command line ends."""
    end = f" {600 + os.getpid() / 1e6}"
    process.spawn(["sleep", end.strip()], tmp_path, tmp_path / "console.log", pid_file)
    yield end
    process.kill(pid_file, end)


def test_our_process_is_found_and_ended(pid_file, sleeper):
    pid = process.find(pid_file, sleeper)
    assert pid == int(pid_file.read_text())
    assert os.getsid(pid) != os.getsid(0)
    assert process.end(pid_file, sleeper, grace_seconds=5)
    assert process.find(pid_file, sleeper) is None
    assert not process.end(pid_file, sleeper, grace_seconds=5)


def test_one_that_ignores_the_request_is_killed(tmp_path, pid_file):
    process.spawn(["sh", "-c", "trap '' TERM; : >ready; sleep 60", "deaf"], tmp_path, tmp_path / "console", pid_file)
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    assert process.end(pid_file, " deaf", grace_seconds=0.1)
    assert process.find(pid_file, " deaf") is None


def test_a_stranger_with_the_recorded_pid_is_left_alone(pid_file):
    pid_file.write_text(str(os.getpid()))
    marker = " kafka.Kafka /nowhere/server.properties"
    assert process.find(pid_file, marker) is None
    assert not process.end(pid_file, marker, grace_seconds=1)
    assert not process.kill(pid_file, marker)


@pytest.mark.parametrize("content", ["", "garbage", "999999999"])
def test_a_pid_file_that_names_no_process_means_none_runs(pid_file, content):
    pid_file.write_text(content)
    assert process.find(pid_file, " kafka.Kafka") is None


def test_no_pid_file_means_none_runs(pid_file):
    assert process.find(pid_file, "") is None


def test_our_process_is_found_while_it_becomes_another_program(pid_file, sleeper, monkeypatch):
    """In the middle of an exec, Linux shows no command line."""
    real = process._command_line
    lines = iter(["", ""])
    monkeypatch.setattr(process, "_command_line", lambda pid: next(lines, real(pid)))
    assert process.find(pid_file, sleeper) == int(pid_file.read_text())
