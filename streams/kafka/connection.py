"""How to reach a cluster: one set of client settings for every producer, consumer and admin client."""

import logging
import os
import time
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


# A member that has lost its partitions has its transaction refused; it is rolled back, and their new owner does it.
_REBALANCED = ("ILLEGAL_GENERATION", "UNKNOWN_MEMBER_ID", "REBALANCE_IN_PROGRESS", "FENCED_INSTANCE_ID")
_LOGIN_SECONDS, _LOOK_SECONDS = 3.0, 1.0


def _as_handled(record: logging.LogRecord) -> bool:
    """What is dealt with by itself is no error: nobody has to act. Anything else keeps its level.

    The client connects again when a connection is lost, and a transaction that a rebalance has ended is rolled back.
    """
    if record.levelno == logging.ERROR:
        said, level = record.getMessage(), record.levelno
        if "Broker transport failure" in said:
            level = logging.WARNING
        elif "Current transaction failed" in said and any(f"({name}" in said for name in _REBALANCED):
            level = logging.INFO
        record.levelno, record.levelname = level, logging.getLevelName(level)
    return client_log.isEnabledFor(record.levelno)


client_log.addFilter(_as_handled)


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
            StreamError: no cluster is named, librdkafka does not take the settings, or the cluster does not take the
                user or the password; no secret is quoted.

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
        """A misspelt setting, a missing certificate or a wrong password is one error here, not one in each client."""
        refused: list[str] = []

        def note(error: KafkaError) -> None:
            if error.code() == KafkaError._AUTHENTICATION:
                refused.append(error.str())

        try:
            client = AdminClient({**self.client(), "error_cb": note})
        except (KafkaException, ValueError, TypeError) as error:
            cause = error.args[0] if error.args else error
            text = cause.str() if isinstance(cause, KafkaError) else str(cause)
            raise StreamError(
                f"the settings for {self.bootstrap_servers} are not accepted: {self.hide(text)}"
            ) from None
        if any(name.startswith("sasl.") for name in self.settings):
            self._require_login(client, refused)

    def _require_login(self, client: AdminClient, refused: list[str]) -> None:
        """Raise StreamError if the cluster has refused the user for some seconds: librdkafka itself tries for ever.

        Not at once, because a user that was just added is not known everywhere yet. A cluster that does not answer has
        refused nobody: that is left to whoever needs it.
        """
        end = time.monotonic() + _LOGIN_SECONDS
        while time.monotonic() < end:
            try:
                client.list_topics(timeout=_LOOK_SECONDS)
                return
            except KafkaException:
                client.poll(0)
        if refused:
            raise StreamError(
                f"{self.bootstrap_servers} does not let in the user {self.settings.get('sasl.username', '')!r}:"
                f" {self.hide(refused[-1])}; see sasl.username and sasl.password in TIDEMILL_KAFKA_CONFIG or the"
                " environment"
            )

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
