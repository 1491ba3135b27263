"""Ports of this machine's loopback interface."""

import secrets
import socket

from tidemill.schemas.errors import BrokerError

# Outside the ephemeral ranges: there, a client that reconnects while the broker is down could be given the very port
# as its own and connect to itself.
_FREE_RANGE = range(20_000, 32_000)


def is_free(port: int) -> bool:
    """Tell whether a server could open the port now, and nothing answers there by a wildcard address."""
    with socket.socket() as server:
        # As Java does: a connection of the last broker that is still closing is no obstacle.
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", port))
        except OSError:
            return False
    with socket.socket() as client:
        client.settimeout(1)
        return client.connect_ex(("127.0.0.1", port)) != 0


def free() -> int:
    """Pick a free port. Raises BrokerError where a hundred tries find none."""
    for port in secrets.SystemRandom().sample(_FREE_RANGE, 100):
        if is_free(port):
            return port
    raise BrokerError(f"found no free port from {_FREE_RANGE[0]} to {_FREE_RANGE[-1]} on 127.0.0.1; name one")
