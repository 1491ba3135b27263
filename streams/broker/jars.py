"""Kafka's jars: which ones, and whether the files on disk are those.

The pinned set is the tracked file `kafka-jars.lock`, one line per jar: its SHA-256, two spaces, group:artifact:version.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from tidemill.schemas.errors import BrokerError

LOCK_FILE = Path(__file__).with_name("kafka-jars.lock")
KAFKA = ("org.apache.kafka", "kafka_2.13")


@dataclass(frozen=True)
class Jar:
    """One pinned jar."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinates(self) -> str:
        """The Maven coordinates, group:artifact:version."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def file_name(self) -> str:
        """The jar's name on disk."""
        return f"{self.artifact}-{self.version}.jar"


@dataclass(frozen=True)
class JarSet:
    """The pinned jars, and the broker's version among them."""

    jars: tuple[Jar, ...]
    fingerprint: str

    @property
    def version(self) -> str:
        """Kafka's version."""
        return next(jar.version for jar in self.jars if (jar.group, jar.artifact) == KAFKA)

    def folder(self, cache: Path) -> Path:
        """Name this set's own folder, so that another set's jars never lie beside it."""
        return cache / f"{self.version}-{self.fingerprint[:8]}"


def parse_lock(text: str, origin: str = LOCK_FILE.name) -> JarSet:
    """Read a lock file. Raises BrokerError naming the line that is not `sha256  group:artifact:version`.

    >>> parse_lock("ab" * 32 + "  org.apache.kafka:kafka_2.13:4.3.1").version
    '4.3.1'
    """
    jars = []
    for number, line in enumerate(text.splitlines(), start=1):
        digest, _, coordinates = line.partition("  ")
        parts = coordinates.split(":")
        if len(digest) != 64 or not set(digest) <= set("0123456789abcdef") or len(parts) != 3 or not all(parts):
            raise BrokerError(
                f"{origin}, line {number}: expected 'sha256  group:artifact:version', got {line!r}; "
                "write the file again with: python -m tidemill.streams.broker.lock VERSION"
            )
        jars.append(Jar(parts[0], parts[1], parts[2], digest))
    if not any((jar.group, jar.artifact) == KAFKA for jar in jars):
        raise BrokerError(f"{origin}: expected a line for {':'.join(KAFKA)}, found none; restore the tracked file")
    return JarSet(tuple(jars), hashlib.sha256(text.encode()).hexdigest())


def read_lock() -> JarSet:
    """Return the pinned jars of this release."""
    return parse_lock(LOCK_FILE.read_text())


def verify(jars: JarSet, folder: Path) -> list[Path]:
    """Return the jars' paths, in the lock's order, when the folder holds exactly the pinned bytes.

    Raises BrokerError naming the first file that is missing, altered, or not in the lock.
    """
    for stray in sorted({path.name for path in folder.glob("*.jar")} - {jar.file_name for jar in jars.jars}):
        raise BrokerError(f"{folder / stray} is not one of the pinned jars; remove it")
    for jar in jars.jars:
        path = folder / jar.file_name
        if not path.is_file():
            raise BrokerError(f"{path} is missing; start the broker again to download it")
        check(path, jar)
    return [folder / jar.file_name for jar in jars.jars]


def check(path: Path, jar: Jar) -> None:
    """Raise BrokerError unless the file holds the pinned bytes."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != jar.sha256:
        raise BrokerError(
            f"{path} is not the pinned {jar.coordinates}: expected SHA-256 {jar.sha256}, got {digest}. "
            "Remove the file to download it again; if it comes back, the repository or the lock file was altered"
        )
