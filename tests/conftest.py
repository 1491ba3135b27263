"""Fixtures for every test: one real Kafka per run, and names that do not meet."""

import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidemill.streams.broker import EmbeddedBroker

CHECKOUT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def jar_cache() -> Path:
    """Kafka's jars, downloaded once per checkout."""
    return CHECKOUT / ".tidemill" / "kafka" / "jars"


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory, jar_cache: Path) -> Iterator[EmbeddedBroker]:
    """One running broker for the whole run: `kafka.bootstrap_servers`. Do not stop it; start your own for that."""
    root = tmp_path_factory.mktemp("kafka")
    with EmbeddedBroker(root, port=0, jars=jar_cache) as broker:
        yield broker
    shutil.rmtree(root)


@pytest.fixture
def pipeline_name() -> str:
    """A pipeline's name that no other test has, for topics, groups and transactions of its own."""
    return f"test-{secrets.token_hex(4)}"
