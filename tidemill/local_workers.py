"""The workers of a pipeline on this machine: what each says of itself over HTTP."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tidemill.streams.plan import LABELLED

TIMEOUT = 2.0


@dataclass(frozen=True)
class WorkerStatus:
    """One process. `ready` is its own word; None where it did not answer. `last_commit` is in Unix time, 0 for never.

    `model` is the version that it serves, None while the prior answers. The counts are since the process began.
    """

    pid: int
    stages: tuple[str, ...]
    slot: str
    address: str
    ready: bool | None
    accepted: int = 0
    rejected: int = 0
    commits_aborted: int = 0
    last_commit: float = 0.0
    model: str | None = None
    state_keys: int = 0
    state_bytes: int = 0


def local_workers(folder: Path) -> Iterator[WorkerStatus]:
    """Those that left a note in the folder and still run, by their notes' names."""
    for path in sorted(folder.glob("*.json")):
        note = json.loads(path.read_text())
        if _runs(note["pid"]):
            yield ask(note)


def ask(note: dict[str, Any]) -> WorkerStatus:
    """What the worker that wrote this note says; a worker that does not answer is listed all the same."""
    who = (note["pid"], tuple(note["stages"]), note["slot"], note["metrics"])
    try:
        families = text_string_to_metric_families(_get(note["metrics"], "/metrics")[1])
        values = {(s.name, *s.labels.values()): s for family in families for s in family.samples}
        ready = _get(note["metrics"], "/ready")[0] == 200
    except OSError:
        return WorkerStatus(*who, None)

    def total(name: str, *labels: str) -> float:
        return sum(s.value for key, s in values.items() if key[0] == name and set(labels) <= set(key[1:]))

    models = [
        s.labels["version"] for key, s in values.items() if key[0] == "tidemill_model_info" and "version" in s.labels
    ]
    return WorkerStatus(
        *who,
        ready,
        int(total("tidemill_events_total", _last_of_events(note["stages"]), "accepted")),
        int(total("tidemill_rejected_total")),
        int(total("tidemill_commits_aborted_total")),
        total("tidemill_last_commit_timestamp_seconds"),
        models[-1] if models else None,
        int(total("tidemill_state_keys")),
        int(total("tidemill_state_bytes")),
    )


def _last_of_events(stages: Sequence[str]) -> str:
    """The stage that decides last about events: what comes after it is about labels."""
    return ([stage for stage in stages if stage not in LABELLED] or list(stages))[-1]


def _get(address: str, path: str) -> tuple[int, str]:
    with closing(HTTPConnection(address, timeout=TIMEOUT)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
