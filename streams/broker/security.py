"""The embedded broker's secrets, in secure mode: who may do everything, and how the broker knows itself.

Three users, each with a password drawn for this one data folder: `admin` for the person who started the broker,
`broker` for the broker's own connections as a client, and `controller` for the controller's listener, which has to let
the broker in before there are any SCRAM users to look up.
"""

import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

from tidemill.streams.private_file import write_private

ADMIN, BROKER, CONTROLLER = "admin", "broker", "controller"
MECHANISM = "SCRAM-SHA-512"
LISTENER = "SASL_PLAINTEXT"


@dataclass(frozen=True)
class Passwords:
    """The passwords of the embedded broker's own users; not shown by `repr`."""

    admin: str = field(repr=False)
    broker: str = field(repr=False)
    controller: str = field(repr=False)

    @classmethod
    def draw(cls) -> Self:
        """Fresh ones: 192 random bits each, in letters that need no quoting anywhere."""
        return cls(*(secrets.token_urlsafe(24) for _ in range(3)))

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read those of a data folder; None for one that is not secure."""
        return cls(**json.loads(path.read_text())) if path.exists() else None

    def save(self, path: Path) -> None:
        """Write them where only their owner can read them."""
        write_private(path, json.dumps(asdict(self)))

    def hide(self, text: str) -> str:
        """Mask the passwords in what is to be shown."""
        for password in (self.admin, self.broker, self.controller):
            text = text.replace(password, "***")
        return text

    def server_properties(self) -> dict[str, str]:
        """What `server.properties` has more: authentication on both listeners, and Kafka's own authorizer."""
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        return {
            "sasl.mechanism.inter.broker.protocol": MECHANISM,
            "sasl.mechanism.controller.protocol": "PLAIN",
            "listener.name.sasl_plaintext.sasl.enabled.mechanisms": MECHANISM,
            "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": (
                f'{scram} username="{BROKER}" password="{self.broker}";'
            ),
            "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.controller.plain.sasl.jaas.config": (
                f'{plain} username="{CONTROLLER}" password="{self.controller}" user_{CONTROLLER}="{self.controller}";'
            ),
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "allow.everyone.if.no.acl.found": "false",
            "super.users": ";".join(f"User:{name}" for name in (ADMIN, BROKER, CONTROLLER)),
        }

    def format_arguments(self) -> str:
        """Arguments of `StorageTool format`, one a line, for a file: a command line can be read by every user."""
        users = ((ADMIN, self.admin), (BROKER, self.broker))
        return "".join(f"--add-scram\n{MECHANISM}=[name={name},password={word}]\n" for name, word in users)

    def client_properties(self, bootstrap_servers: str) -> str:
        """What `TIDEMILL_KAFKA_CONFIG` can name: how a client is the superuser."""
        return client_properties(bootstrap_servers, LISTENER, ADMIN, self.admin)


def client_properties(bootstrap_servers: str, protocol: str, user: str, password: str) -> str:
    """A SCRAM user's client settings, in librdkafka's words."""
    return (
        f"bootstrap.servers={bootstrap_servers}\nsecurity.protocol={protocol}\nsasl.mechanism={MECHANISM}\n"
        f"sasl.username={user}\nsasl.password={password}\n"
    )
