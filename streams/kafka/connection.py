"""How to reach a cluster: one set of client settings for every producer, consumer and admin client."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from tidemill.schemas.errors import StreamError

BOOTSTRAP_ENV = "TIDEMILL_BOOTSTRAP_SERVERS"
CONFIG_ENV = "TIDEMILL_KAFKA_CONFIG"
_SECRET = ("password", "secret", "token", "oauthbearer.config", "key.pem", "sasl.jaas")

# When all brokers are away for a moment, librdkafka (2.16) forgets them and starts anew from the bootstrap servers. A
# transaction that was open then waits for its forgotten coordinator for ever. Without this it waits for the same one.
_RECOVERY = {"metadata.recovery.strategy": "none"}

client_log = logging.getLogger("tidemill.librdkafka")
"""librdkafka logs through Python's logging."""


@dataclass(frozen=True)
class Connection:
    """Bootstrap servers and any further librdkafka settings (TLS, SASL); its `repr` masks secrets."""

    bootstrap_servers: str
    settings: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def from_environment(bootstrap_servers: str | None, default: str | None = None) -> "Connection":
        """Take the servers given, else those of TIDEMILL_BOOTSTRAP_SERVERS, else the default.

        TIDEMILL_KAFKA_CONFIG may name a file of `key=value` lines with further client settings.
        """
        servers = bootstrap_servers or os.environ.get(BOOTSTRAP_ENV) or default
        if not servers:
            raise StreamError(
                "no Kafka cluster is named: start one here with `tidemill broker start`, or name one by"
                f" --bootstrap-servers or {BOOTSTRAP_ENV}"
            )
        path = os.environ.get(CONFIG_ENV)
        return Connection(servers, _read_properties(Path(path)) if path else {})

    def client(self, **settings: Any) -> dict[str, Any]:
        """Settings for one client; keyword names have underscores for dots."""
        own = {name.replace("_", "."): value for name, value in settings.items()}
        defaults = {"bootstrap.servers": self.bootstrap_servers, "logger": client_log, **_RECOVERY}
        return {**defaults, **self.settings, **own}

    def __repr__(self) -> str:
        shown = {k: "***" if any(word in k for word in _SECRET) else v for k, v in self.settings.items()}
        return f"Connection({self.bootstrap_servers!r}, {shown})"


def translate(error: KafkaException | KafkaError, doing: str, connection: Connection) -> StreamError:
    """A Kafka error as one of ours: what failed, where, and why."""
    cause = error.args[0] if isinstance(error, KafkaException) else error
    text = cause.str() if isinstance(cause, KafkaError) else str(cause)
    if isinstance(cause, KafkaError) and text.endswith(": "):
        # An admin request's answer names the request only.
        text += cause.name()
    return StreamError(f"{doing} failed on {connection.bootstrap_servers}: {text}")


def _read_properties(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise StreamError(f"{CONFIG_ENV} names {path}, which cannot be read: {error.strerror}") from None
    settings = {}
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, separator, value = text.partition("=")
        if not separator:
            raise StreamError(f"{path}:{number}: expected key=value")
        settings[key.strip()] = value.strip()
    return settings
