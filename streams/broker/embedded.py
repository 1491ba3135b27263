"""The embedded broker's life: start, status, stop."""

import os
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tidemill.schemas.errors import BrokerError
from tidemill.streams.broker import ports, probe, process, settings
from tidemill.streams.broker.download import Progress, download
from tidemill.streams.broker.folder import BrokerFolder
from tidemill.streams.broker.jars import read_lock, verify
from tidemill.streams.broker.java import find_java

DEFAULT_PORT = 9092
# Kafka's jars, its logs, and topics of a demo's size.
MINIMUM_FREE_BYTES = 1_000_000_000

_START_SECONDS = 60
_STOP_SECONDS = 20
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class BrokerStatus:
    """What the embedded broker of one root folder is doing. `started` is in UTC.

    `credentials` is the file with the superuser's client settings, if the broker is secure.
    """

    running: bool
    root: Path
    version: str
    data_bytes: int
    pid: int | None = None
    bootstrap_servers: str | None = None
    started: datetime | None = None
    credentials: Path | None = None


class EmbeddedBroker:
    """An Apache Kafka of one node under `root`, listening on this machine only.

    It outlives the program that started it until `stop`; as a context manager it is stopped at the end, unless it was
    running before. Data survives `stop` and `kill`. Brokers of different roots and ports can run side by side.

    Args:
        root: holds `kafka/` with the broker's configuration, data and logs.
        port: where clients connect; 0 picks a free one, the same for this object's life.
        jars: the download cache, by default `root/kafka/jars`.
        minimum_free_bytes: refuse to start with less room than this on the disk.
        secure: ask every client for a password (SASL, SCRAM-SHA-512), and let it do what ACLs allow; the superuser's
            client settings are in the file `status().credentials`.

    """

    def __init__(
        self,
        root: Path,
        port: int = DEFAULT_PORT,
        jars: Path | None = None,
        minimum_free_bytes: int = MINIMUM_FREE_BYTES,
        *,
        secure: bool = False,
    ) -> None:
        self.root = root.absolute()
        self.port = port or ports.free()
        self._any_port = port == 0
        self._folder = BrokerFolder(self.root / "kafka")
        self._jar_cache = (jars or self._folder.path / "jars").absolute()
        self._minimum_free_bytes = minimum_free_bytes
        self._secure = secure
        self._command_end = f" kafka.Kafka {self._folder.properties}"
        self._started_here = False

    @property
    def bootstrap_servers(self) -> str:
        """What a client's `bootstrap.servers` must be."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._started_here:
            self.stop()

    def start(self, progress: Progress | None = None) -> BrokerStatus:
        """Start the broker, or find it running; returns when a produce would succeed.

        Downloads Kafka's jars the first time. Raises BrokerError, saying what to do, when there is no Java, room or
        network, when the port is taken, when a jar is not the pinned one, or when the broker dies.
        """
        try:
            self._folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BrokerError(
                f"cannot write to {self._folder.path}: {error}; set TIDEMILL_HOME to a folder of yours"
            ) from error
        with self._folder.exclusive():
            self._folder.require(secure=self._secure)
            if self._pid() is None:
                self._launch(progress or (lambda _what, _done, _total: None))
                self._started_here = True
            else:
                self._adopt()
            return self.status()

    def stop(self) -> bool:
        """Stop the broker in good order, after 20 s by force. False when none was running."""
        if not self._folder.path.exists():
            return False
        with self._folder.exclusive():
            self._started_here = False
            stopped = process.end(self._folder.pid_file, self._command_end, _STOP_SECONDS)
            self._folder.pid_file.unlink(missing_ok=True)
            return stopped

    def kill(self) -> bool:
        """Kill the broker without a word (SIGKILL), as a crash would. False when none was running."""
        return process.kill(self._folder.pid_file, self._command_end)

    def status(self) -> BrokerStatus:
        """Tell what is there now. Needs no Java, no jars and no network."""
        version, used, pid = read_lock().version, self._folder.used_bytes(), self._pid()
        credentials = self._folder.credentials if self._folder.credentials.exists() else None
        if pid is None:
            return BrokerStatus(False, self.root, version, used, credentials=credentials)
        started = datetime.fromtimestamp(self._folder.pid_file.stat().st_mtime, UTC)
        servers = f"127.0.0.1:{self._folder.port()}"
        return BrokerStatus(True, self.root, version, used, pid, servers, started, credentials)

    def running(self) -> bool:
        """Whether it runs, without a look at all that it has on disk, as `status` takes one."""
        return self._pid() is not None

    def _pid(self) -> int | None:
        return process.find(self._folder.pid_file, self._command_end)

    def _adopt(self) -> None:
        port = self._folder.port()
        if port != self.port and not self._any_port:
            raise BrokerError(
                f"the broker of {self.root} is already running on port {port}, so it cannot start on port {self.port}; "
                "use that port, stop it first (tidemill broker stop), or set another TIDEMILL_HOME"
            )
        self.port = port
        self._wait_ready(self._folder.log_end())

    def _launch(self, progress: Progress) -> None:
        self._check_room()
        self._check_port()
        java = find_java()
        jars = read_lock()
        jar_folder = jars.folder(self._jar_cache)
        download(jars, jar_folder, progress)
        classpath = os.pathsep.join(map(str, verify(jars, jar_folder)))
        what = f"Starting Apache Kafka {jars.version}"
        progress(what, 0, 2)
        self._folder.format(java.path, classpath, secure=self._secure)
        self._folder.write_settings(self.port)
        progress(what, 1, 2)
        command = [str(java.path), *settings.jvm_options(), "-cp", classpath, *self._command_end.split(maxsplit=1)]
        log_end = self._folder.log_end()
        try:
            process.spawn(command, self._folder.path, self._folder.console, self._folder.pid_file)
            self._wait_ready(log_end)
        except BaseException:
            process.kill(self._folder.pid_file, self._command_end)
            raise
        progress(what, 2, 2)

    def _check_room(self) -> None:
        free = shutil.disk_usage(self._folder.path).free
        if free < self._minimum_free_bytes:
            raise BrokerError(
                f"the broker needs {self._minimum_free_bytes / 1e9:.1f} GB free under {self._folder.path}, there are "
                f"{free / 1e9:.1f} GB; free some, or set TIDEMILL_HOME to a folder on another disk"
            )

    def _check_port(self) -> None:
        if ports.is_free(self.port):
            return
        other = probe.ask(self.port)
        who = (
            f"a Kafka (cluster {other.cluster_id}): use it with --bootstrap-servers 127.0.0.1:{self.port}"
            if other
            else "another program: stop that"
        )
        raise BrokerError(f"port {self.port} of 127.0.0.1 is taken by {who}, or choose another port with --port")

    def _wait_ready(self, log_end: int) -> None:
        deadline = time.monotonic() + _START_SECONDS
        passwords = self._folder.passwords()
        while True:
            cluster = probe.ask(self.port, passwords)
            if cluster and cluster.brokers:
                return
            if self._pid() is None:
                raise BrokerError(f"the broker died while starting. {self._folder.last_words(log_end)}")
            if time.monotonic() > deadline:
                raise BrokerError(
                    f"the broker was not ready after {_START_SECONDS} s. {self._folder.last_words(log_end)}"
                )
            time.sleep(_POLL_SECONDS)
