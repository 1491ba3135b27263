"""Bringing Kafka's jars from the Maven repositories that this machine uses."""

import logging
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tidemill.schemas.errors import BrokerError
from tidemill.streams.broker.jars import Jar, JarSet, check

# What is being done, how many parts of it are done, and of how many.
Progress = Callable[[str, int, int], None]

_PARALLEL = 6
_ATTEMPTS = 3
_TIMEOUT_SECONDS = 30


def maven(cache: Path) -> Any:
    """Return jgo's MavenContext: the repositories of this user's jgo settings, writing to `cache` only.

    The resolver in pure Python needs neither mvn nor a Java. Raises BrokerError where jgo is not installed.
    """
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext, PythonResolver
    except ImportError as error:
        raise BrokerError("the embedded broker needs jgo; run: pip install 'tidemill[local]'") from error
    # Its warnings are about what is checked here by SHA-256.
    logging.getLogger("jgo").setLevel(logging.ERROR)
    context = MavenContext(repo_cache=cache, resolver=PythonResolver(), timeout=_TIMEOUT_SECONDS)
    context.remote_repos.update(GlobalSettings.load().repositories)
    return context


def download(jars: JarSet, folder: Path, progress: Progress | None = None) -> None:
    """Download the jars that the folder lacks; one that is not the pinned one never gets into it.

    What has arrived stays when a later jar fails, so that the next try goes on from there.
    Raises BrokerError where a jar cannot be had or has other bytes than the pinned ones.
    """
    absent = [jar for jar in jars.jars if not (folder / jar.file_name).exists()]
    if not absent:
        return
    folder.mkdir(parents=True, exist_ok=True)
    what = f"Downloading Apache Kafka {jars.version}"
    done = len(jars.jars) - len(absent)
    stop = threading.Event()
    with tempfile.TemporaryDirectory(dir=folder, prefix="incoming-") as incoming, ThreadPoolExecutor(_PARALLEL) as pool:
        fetched = [pool.submit(_fetch, jar, Path(incoming), folder, stop) for jar in absent]
        try:
            for one in as_completed(fetched):
                one.result()
                done += 1
                if progress:
                    progress(what, done, len(jars.jars))
        finally:
            # Also on Ctrl-C: the pool waits for its threads, and those still queued have nothing left to do.
            stop.set()


def _fetch(jar: Jar, incoming: Path, folder: Path, stop: threading.Event) -> None:
    for attempt in range(1, _ATTEMPTS + 1):
        if stop.is_set():
            return
        # A fresh place per attempt: jgo takes a file that lies in its cache, however short, for the jar.
        context = maven(incoming / f"{jar.file_name}-{attempt}")
        try:
            arrived = Path(context.create_dependency(jar.coordinates).artifact.resolve())
            break
        except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
            if attempt == _ATTEMPTS:
                raise BrokerError(
                    f"could not download {jar.coordinates}: {error}. The first start needs the package registry "
                    f"Maven Central (44 MB, once); the jars are then kept in {folder}. Check the network and try again"
                ) from error
    check(arrived, jar)
    arrived.replace(folder / jar.file_name)
