import socket
import struct
import threading
from contextlib import contextmanager

import pytest

from tidemill.streams.broker import ports, probe


@contextmanager
def server(answer):
    """A port that answers its first caller with these bytes, whatever it asks."""

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1024)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def text(value):
    return struct.pack(">h", len(value)) + value.encode()


def metadata(brokers, cluster_id="the-cluster"):
    """A Metadata response, version 2: brokers, cluster id, controller, no topics."""
    entries = [struct.pack(">i", n) + text("127.0.0.1") + struct.pack(">ih", 9092, -1) for n in range(1, brokers + 1)]
    body = struct.pack(">ii", 1, brokers) + b"".join(entries) + text(cluster_id) + struct.pack(">ii", 1, 0)
    return struct.pack(">i", len(body)) + body


@pytest.mark.parametrize("brokers", [0, 1, 3])
def test_a_kafka_is_known_by_its_cluster_and_its_serving_brokers(brokers):
    with server(metadata(brokers)) as port:
        assert probe.ask(port) == probe.Cluster("the-cluster", brokers)


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", metadata(1)[:-9], b"\0\0\0\0", struct.pack(">iii", 8, 1, 1 << 30)],
    ids=["closed", "http", "cut short", "empty", "absurd count"],
)
def test_what_is_no_kafka_is_nobody(answer):
    with server(answer) as port:
        assert probe.ask(port, timeout=0.5) is None


def test_a_port_where_nobody_listens_is_nobody():
    assert probe.ask(ports.free()) is None


def test_a_port_that_somebody_listens_on_is_not_free():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not ports.is_free(listener.getsockname()[1])
    with socket.create_server(("0.0.0.0", 0)) as listener:
        assert not ports.is_free(listener.getsockname()[1])


def test_free_ports_lie_outside_the_range_that_clients_are_given():
    port = ports.free()
    assert ports.is_free(port)
    assert port < 32_768
