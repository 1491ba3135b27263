"""The broker's folder: its settings, its data and its log."""

import base64
import fcntl
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tidemill.schemas.errors import BrokerError
from tidemill.streams.broker import ports, settings
from tidemill.streams.broker.security import Passwords
from tidemill.streams.private_file import write_private

_LAST_LINES = 8


@dataclass(frozen=True)
class BrokerFolder:
    """Where one broker lives. `path` is absolute; nothing of the broker is written anywhere else."""

    path: Path

    @property
    def properties(self) -> Path:
        """The configuration the broker was last started with; its path also marks the broker's command line."""
        return self.path / "server.properties"

    @property
    def pid_file(self) -> Path:
        """The process id of the broker that was started last."""
        return self.path / "broker.pid"

    @property
    def console(self) -> Path:
        """What the JVM itself said since the last start."""
        return self.path / settings.LOGS / "console.log"

    @property
    def log(self) -> Path:
        """Kafka's log of its own doings."""
        return self.path / settings.LOGS / "server.log"

    @property
    def data(self) -> Path:
        """The topics; exists once it has been formatted."""
        return self.path / settings.DATA

    @property
    def credentials(self) -> Path:
        """In secure mode, the superuser's client settings."""
        return self.path / "admin.properties"

    @property
    def _secrets(self) -> Path:
        return self.path / "passwords.json"

    def passwords(self) -> Passwords | None:
        """Those that the data was formatted with; None if the data is open to everyone on this machine."""
        return Passwords.load(self._secrets)

    def require(self, *, secure: bool) -> None:
        """Raise BrokerError if there is data of the other mode: its users and its openness are part of it."""
        if not self.data.exists() or (self.passwords() is not None) == secure:
            return
        if secure:
            raise BrokerError(
                f"the data in {self.path} was made without --secure, open to everyone on this machine; --secure needs a"
                " folder of its own: set another TIDEMILL_HOME, or stop the broker and remove that data"
            )
        raise BrokerError(f"the data in {self.path} was made with --secure: start the broker with --secure")

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """One start or stop at a time, over all processes."""
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def write_settings(self, port: int) -> None:
        """Write what the broker reads at its start."""
        self._furnish()
        passwords = self.passwords()
        write_private(self.properties, settings.server_properties(port, ports.free(), passwords=passwords))
        if passwords is not None:
            write_private(self.credentials, passwords.client_properties(f"127.0.0.1:{port}"))

    def _furnish(self) -> None:
        for name in (settings.LOGS, settings.TEMPORARY):
            (self.path / name).mkdir(exist_ok=True)
        (self.path / "log4j2.xml").write_text(settings.log4j2_xml())

    def port(self) -> int:
        """Return the port that the settings name."""
        found = re.search(r"^listeners=\w+://127\.0\.0\.1:(\d+)", self.properties.read_text(), re.MULTILINE)
        if not found:
            raise BrokerError(f"{self.properties} names no listener; stop the broker's process and remove the file")
        return int(found[1])

    def format(self, java: Path, classpath: str, *, secure: bool = False) -> None:
        """Give the data its cluster id, once, and in secure mode the first users.

        Under another name until it is whole, so that no half of it is used.
        """
        if self.data.exists():
            return
        self._furnish()
        fresh = self.path / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        for left in (self._secrets, self.credentials):
            left.unlink(missing_ok=True)
        passwords = Passwords.draw() if secure else None
        properties, arguments = self.path / "format.properties", self.path / "format.arguments"
        write_private(properties, settings.server_properties(1, 2, log_dir=fresh.name, passwords=passwords))
        # Not on the command line, which others may read; Kafka's tool fails on an empty file.
        users = []
        if passwords is not None:
            write_private(arguments, passwords.format_arguments())
            users = [f"@{arguments}"]
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = [str(java), *settings.jvm_options(), "-cp", classpath, "kafka.tools.StorageTool", "format"]
        answer = subprocess.run(
            [*command, f"--cluster-id={cluster_id}", f"--config={properties}", *users],
            cwd=self.path,
            capture_output=True,
            text=True,
            check=False,
        )
        properties.unlink()
        arguments.unlink(missing_ok=True)
        if answer.returncode != 0:
            said = (answer.stdout + answer.stderr).strip()
            raise BrokerError(f"could not format {fresh}: {passwords.hide(said) if passwords else said}")
        if passwords is not None:
            # Events, and what SCRAM keeps of the passwords, lie below it.
            self.path.chmod(0o700)
            passwords.save(self._secrets)
        fresh.rename(self.data)

    def used_bytes(self) -> int:
        """Measure the room that the data takes on the disk (index files are longer than that: they are sparse)."""
        used = 0
        for file in self.data.rglob("*"):
            with suppress(FileNotFoundError):  # retention deletes while we look
                used += file.stat().st_blocks * 512
        return used

    def log_end(self) -> int:
        """Return the log's length now, to tell what is written after this."""
        return self.log.stat().st_size if self.log.exists() else 0

    def last_words(self, since: int) -> str:
        """Quote what the JVM said, and the log's errors after `since`, or its end where it tells of none."""
        lines = self.console.read_text(errors="replace").splitlines() if self.console.exists() else []
        if self.log.exists():
            with self.log.open(errors="replace") as log:
                log.seek(since)
                written = log.read().splitlines()
            lines += [line for line in written if re.search(r" (ERROR|FATAL) |Exception|Caused by", line)] or written
        return "\n".join([f"The end of {self.log}:", *lines[-_LAST_LINES:]])
