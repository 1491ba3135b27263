"""Asking a port who it is, in Kafka's own protocol.

One Metadata request, version 2, for no topics (the format: https://kafka.apache.org/protocol.html). A broker opens its
port and lists itself only once the controller has let it serve, so that an answer with a broker in it means: a produce
would succeed.
"""

import socket
import struct
from dataclasses import dataclass

from tidemill.streams.broker import scram
from tidemill.streams.broker.security import BROKER, MECHANISM, Passwords

_METADATA_V2 = struct.pack(">hhih", 3, 2, 1, -1) + struct.pack(">i", 0)
_SASL_HANDSHAKE_V1 = struct.pack(">hhihh", 17, 1, 2, -1, len(MECHANISM)) + MECHANISM.encode()
_SASL_AUTHENTICATE_V0 = struct.pack(">hhih", 36, 0, 3, -1)


@dataclass(frozen=True)
class Cluster:
    """What answered: the cluster's id, and how many brokers are serving."""

    cluster_id: str
    brokers: int


def ask(port: int, passwords: Passwords | None = None, timeout: float = 1.0) -> Cluster | None:
    """Identify the Kafka cluster behind a loopback port; None where nothing answers as a Kafka would.

    With passwords it logs in first, as the broker itself: who has lost them, or does not know them, is no answer.
    """
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            if passwords is not None:
                _request(connection, _SASL_HANDSHAKE_V1)
                scram.authenticate(BROKER, passwords.broker, lambda message: _exchange(connection, message))
            return _parse(_request(connection, _METADATA_V2))
    except (OSError, struct.error, ValueError, KeyError):
        return None


def _request(connection: socket.socket, request: bytes) -> bytes:
    connection.sendall(struct.pack(">i", len(request)) + request)
    (length,) = struct.unpack(">i", _exactly(connection, 4))
    if not 0 < length < 1 << 20:
        raise ValueError(f"an answer of {length} bytes is none of Kafka's")
    return _exactly(connection, length)


def _exchange(connection: socket.socket, message: bytes) -> bytes:
    answer = _request(connection, _SASL_AUTHENTICATE_V0 + struct.pack(">i", len(message)) + message)
    (error,) = struct.unpack_from(">h", answer, 4)
    if error:
        raise ValueError(f"the broker refused the login with error {error}")
    _, at = _text(answer, 6)
    (length,) = struct.unpack_from(">i", answer, at)
    return answer[at + 4 : at + 4 + length]


def _parse(answer: bytes) -> Cluster:
    at = 4  # after the correlation id
    (brokers,) = struct.unpack_from(">i", answer, at)
    at += 4
    for _ in range(brokers):
        at += 4  # the node's id
        at = _text(answer, at)[1]  # host
        at += 4  # port
        at = _text(answer, at)[1]  # rack
    return Cluster(_text(answer, at)[0], brokers)


def _text(answer: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", answer, at)
    end = at + 2 + max(length, 0)
    return answer[at + 2 : end].decode(), end


def _exactly(connection: socket.socket, count: int) -> bytes:
    received = b""
    while len(received) < count:
        part = connection.recv(count - len(received))
        if not part:
            raise ConnectionError("the connection was closed before the answer was complete")
        received += part
    return received
