"""How to reach a cluster: one set of client settings for every producer, consumer and admin client."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from tidemill.schemas.errors import StreamError
from tidemill.streams.kafka.client_settings import Settings, read_settings

BOOTSTRAP_ENV = "TIDEMILL_BOOTSTRAP_SERVERS"
_SERVERS = "bootstrap.servers"

# When all brokers are away for a moment, librdkafka (2.16) forgets them and starts anew from the bootstrap servers. A
# transaction that was open then waits for its forgotten coordinator for ever. Without this it waits for the same one.
_RECOVERY = {"metadata.recovery.strategy": "none"}

client_log = logging.getLogger("tidemill.librdkafka")
"""librdkafka logs through Python's logging."""


def _as_warning(record: logging.LogRecord) -> bool:
    """The client connects again by itself when a connection is lost; nobody has to act, so it is no error."""
    if record.levelno == logging.ERROR and "Broker transport failure" in record.getMessage():
        record.levelno, record.levelname = logging.WARNING, logging.getLevelName(logging.WARNING)
    return client_log.isEnabledFor(record.levelno)


client_log.addFilter(_as_warning)


@dataclass(frozen=True)
class Connection:
    """Bootstrap servers and any further librdkafka settings (TLS, SASL); its `repr` masks secrets.

    >>> Connection("kafka:9093", {"sasl.username": "mill", "sasl.password": "swordfish"})
    Connection('kafka:9093', {'sasl.username': 'mill', 'sasl.password': '***'})
    """

    bootstrap_servers: str
    settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", Settings(self.settings))

    @staticmethod
    def from_environment(bootstrap_servers: str | None, default: str | None = None) -> "Connection":
        """Take the servers given, else those of the environment, else of the settings' file, else the default.

        Further settings come from the file that TIDEMILL_KAFKA_CONFIG names and from variables, as `read_settings` has
        it.

        Raises:
            StreamError: no cluster is named, or librdkafka does not take the settings; no secret is quoted.

        """
        settings = read_settings(os.environ)
        named = settings.pop(_SERVERS, None)
        servers = bootstrap_servers or os.environ.get(BOOTSTRAP_ENV) or named or default
        if not servers:
            raise StreamError(
                "no Kafka cluster is named: start one here with `tidemill broker start`, or name one by"
                f" --bootstrap-servers or {BOOTSTRAP_ENV}"
            )
        connection = Connection(servers, settings)
        if settings:
            connection._require_accepted()
        return connection

    def client(self, **settings: Any) -> Settings:
        """Settings for one client; keyword names have underscores for dots."""
        own = {name.replace("_", "."): value for name, value in settings.items()}
        defaults = {_SERVERS: self.bootstrap_servers, "logger": client_log, **_RECOVERY}
        return Settings({**defaults, **self.settings, **own})

    def hide(self, text: str) -> str:
        """Mask the secrets in a text that is to be shown."""
        return self.settings.hide(text) if isinstance(self.settings, Settings) else text

    def _require_accepted(self) -> None:
        """A misspelt setting or a missing certificate is one error here, not one in each client."""
        try:
            AdminClient(self.client())
        except (KafkaException, ValueError, TypeError) as error:
            cause = error.args[0] if error.args else error
            text = cause.str() if isinstance(cause, KafkaError) else str(cause)
            raise StreamError(
                f"the settings for {self.bootstrap_servers} are not accepted: {self.hide(text)}"
            ) from None

    def __repr__(self) -> str:
        return f"Connection({self.bootstrap_servers!r}, {self.settings})"


def translate(error: KafkaException | KafkaError, doing: str, connection: Connection) -> StreamError:
    """A Kafka error as one of ours: what failed, where, and why."""
    cause = error.args[0] if isinstance(error, KafkaException) else error
    text = cause.str() if isinstance(cause, KafkaError) else str(cause)
    if isinstance(cause, KafkaError) and text.endswith(": "):
        # An admin request's answer names the request only.
        text += cause.name()
    return StreamError(f"{doing} failed on {connection.bootstrap_servers}: {connection.hide(text)}")
