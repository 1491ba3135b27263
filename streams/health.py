"""Whether a worker lives and is ready, for those who look after processes; served beside its metrics."""

from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app

STALLED_SECONDS = 120.0
"""A loop that has not come round for so long hangs: a batch takes a second."""


class Health:
    """Told by a worker's loop, each time that it comes round; `now` is a clock that never goes back, in seconds."""

    def __init__(self, now: Callable[[], float], stalled_seconds: float = STALLED_SECONDS) -> None:
        self._now, self._stalled = now, stalled_seconds
        self._rounds, self._stopping = 0, False
        self._last = now()

    def beat(self) -> None:
        """A sign of life within a long step."""
        self._last = self._now()

    def watching(self, stop: Callable[[], bool]) -> Callable[[], bool]:
        """The same question, asked by a loop before every round, and its answer noted."""

        def asked() -> bool:
            self.beat()
            self._rounds += 1
            self._stopping = stop()
            return self._stopping

        return asked

    @property
    def live(self) -> bool:
        """Whether the loop still turns; if not, only a new process helps."""
        return self._now() - self._last < self._stalled

    @property
    def ready(self) -> bool:
        """Whether the worker has joined its group and been through a first round, and is not on its way out."""
        return self.live and self._rounds > 1 and not self._stopping


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """A scrape is no news."""


def serve(registry: CollectorRegistry, health: Health, host: str, port: int) -> int:
    """Serve /metrics, /live and /ready (200 or 503) for as long as the process lives; port 0 takes a free one.

    Returns the port. Raises OSError if it is taken.
    """
    metrics: Any = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path not in ("/live", "/ready"):
            body: Iterable[bytes] = metrics(environ, start_response)
            return body
        good = health.live if path == "/live" else health.ready
        start_response("200 OK" if good else "503 Service Unavailable", [("Content-Type", "text/plain")])
        return [f"{'' if good else 'not '}{path[1:]}\n".encode()]

    server = make_server(host, port, answer, server_class=_Server, handler_class=_Silent)
    Thread(target=server.serve_forever, name="health", daemon=True).start()
    return server.server_port
