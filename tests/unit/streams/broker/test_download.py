import hashlib
from types import SimpleNamespace

import pytest

from tidemill.schemas.errors import BrokerError
from tidemill.streams.broker import download as module
from tidemill.streams.broker.jars import KAFKA, parse_lock, verify

SERVED = {f"org.example:part{number}:1.0": f"part {number}".encode() for number in range(12)}
SERVED[f"{':'.join(KAFKA)}:4.3.1"] = b"kafka"


@pytest.fixture
def pinned():
    return parse_lock("".join(f"{hashlib.sha256(b).hexdigest()}  {name}\n" for name, b in SERVED.items()))


@pytest.fixture
def repository(monkeypatch):
    """A Maven repository in memory: what it serves, what was asked of it, and how often each first ask fails."""
    state = SimpleNamespace(serves=dict(SERVED), asked=[], failures=0)

    def maven(cache):
        def resolve(coordinates):
            state.asked.append(coordinates)
            if state.asked.count(coordinates) <= state.failures:
                raise ConnectionError("Network is unreachable")
            cache.mkdir(parents=True)
            (cache / "arrived").write_bytes(state.serves[coordinates])
            return cache / "arrived"

        def create_dependency(coordinates):
            return SimpleNamespace(artifact=SimpleNamespace(resolve=lambda: resolve(coordinates)))

        return SimpleNamespace(create_dependency=create_dependency)

    monkeypatch.setattr(module, "maven", maven)
    return state


def test_every_jar_arrives_and_progress_ends_at_the_total(pinned, repository, tmp_path):
    told = []
    module.download(pinned, tmp_path / "jars", lambda *progress: told.append(progress))
    assert len(verify(pinned, tmp_path / "jars")) == len(SERVED)
    assert [done for _, done, _ in told] == list(range(1, len(SERVED) + 1))
    assert told[-1] == ("Downloading Apache Kafka 4.3.1", len(SERVED), len(SERVED))
    assert not list((tmp_path / "jars").glob("incoming-*"))


def test_only_what_is_absent_is_asked_for(pinned, repository, tmp_path):
    module.download(pinned, tmp_path)
    (tmp_path / "part3-1.0.jar").unlink()
    repository.asked.clear()
    module.download(pinned, tmp_path)
    module.download(pinned, tmp_path)
    assert repository.asked == ["org.example:part3:1.0"]


def test_altered_bytes_are_refused_and_never_kept(pinned, repository, tmp_path):
    repository.serves["org.example:part3:1.0"] = b"evil"
    with pytest.raises(BrokerError, match=r"is not the pinned org\.example:part3:1\.0"):
        module.download(pinned, tmp_path)
    assert not (tmp_path / "part3-1.0.jar").exists()


def test_a_passing_failure_is_tried_again(pinned, repository, tmp_path):
    repository.failures = 2
    module.download(pinned, tmp_path)
    assert len(verify(pinned, tmp_path)) == len(SERVED)


def test_without_a_network_the_error_says_what_the_first_start_needs(pinned, repository, tmp_path):
    repository.failures = 99
    with pytest.raises(
        BrokerError, match=r"could not download .*: Network is unreachable\. The first start needs"
    ) as e:
        module.download(pinned, tmp_path)
    assert str(tmp_path) in str(e.value)
