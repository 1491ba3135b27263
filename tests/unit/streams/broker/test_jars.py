import hashlib

import pytest

from tidemill.schemas.errors import BrokerError
from tidemill.streams.broker.jars import parse_lock, read_lock, verify

BYTES = {"kafka_2.13-4.3.1.jar": b"kafka", "helper-1.0.jar": b"helper"}


def digest(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def pinned():
    return parse_lock(
        f"{digest(b'kafka')}  org.apache.kafka:kafka_2.13:4.3.1\n{digest(b'helper')}  org.example:helper:1.0\n"
    )


@pytest.fixture
def folder(tmp_path):
    for name, content in BYTES.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_the_tracked_lock_pins_a_whole_broker():
    jars = read_lock()
    names = {jar.artifact for jar in jars.jars}
    assert {"kafka_2.13", "kafka-clients", "scala-library", "log4j-core", "log4j-slf4j-impl"} <= names
    assert jars.version.startswith("4.3.")
    assert len({jar.file_name for jar in jars.jars}) == len(jars.jars)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "org.example:helper:1.0",
        f"{'a' * 63}  org.example:helper:1.0",
        f"{'A' * 64}  org.example:helper:1.0",
        f"{'a' * 64} org.example:helper:1.0",
        f"{'a' * 64}  org.example:helper",
        f"{'a' * 64}  org.example::1.0",
    ],
)
def test_a_line_that_is_no_pin_is_refused_by_number(line):
    with pytest.raises(BrokerError, match="line 2: expected 'sha256  group:artifact:version'"):
        parse_lock(f"{'a' * 64}  org.apache.kafka:kafka_2.13:4.3.1\n{line}\n")


def test_a_lock_without_kafka_is_refused():
    with pytest.raises(BrokerError, match=r"expected a line for org.apache.kafka:kafka_2\.13"):
        parse_lock(f"{'a' * 64}  org.example:helper:1.0\n")


def test_the_pinned_bytes_pass_in_the_locks_order(pinned, folder):
    assert [path.name for path in verify(pinned, folder)] == list(BYTES)


def test_an_altered_jar_is_refused(pinned, folder):
    (folder / "helper-1.0.jar").write_bytes(b"helpez")
    with pytest.raises(BrokerError, match=r"helper-1\.0\.jar is not the pinned org\.example:helper:1\.0: .*Remove the"):
        verify(pinned, folder)


def test_a_missing_jar_is_refused(pinned, folder):
    (folder / "helper-1.0.jar").unlink()
    with pytest.raises(BrokerError, match=r"helper-1\.0\.jar is missing"):
        verify(pinned, folder)


def test_a_stray_jar_is_refused(pinned, folder):
    (folder / "evil-1.0.jar").write_bytes(b"evil")
    with pytest.raises(BrokerError, match=r"evil-1\.0\.jar is not one of the pinned jars; remove it"):
        verify(pinned, folder)


def test_another_set_of_jars_has_another_folder(pinned, tmp_path):
    other = parse_lock(f"{digest(b'kafka')}  org.apache.kafka:kafka_2.13:4.3.1\n")
    assert pinned.folder(tmp_path) != other.folder(tmp_path)
