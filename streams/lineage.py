"""OpenLineage run events of jobs: what went in, what came out, why and with which verdict.

Written with openlineage-python's own classes, which is imported by who sends events only. Lineage is news for others
and never a job's concern: whatever goes wrong with it is logged, and the job goes on.
"""

import base64
import json
import logging
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from tidemill.schemas.errors import DeclarationError, StreamError, nearest
from tidemill.streams.ports import Sender

State = Literal["START", "RUNNING", "COMPLETE", "FAIL", "ABORT"]
STATES: tuple[State, ...] = ("START", "RUNNING", "COMPLETE", "FAIL", "ABORT")
PRODUCER = "urn:tidemill"
TOPIC = "lineage"
"""Where events go when the target is `topic`, by suffix."""
_RUNS = uuid.UUID("6e2b2f4e-3c0c-5f6e-9a57-0d1f3d1c7a11")
_HTTP_SECONDS = 5.0
_API = "/api/v1/lineage"
Emit = Callable[[bytes, bytes], None]
"""Takes an event's run id and its JSON."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LineageDataset:
    """What a job reads or writes, named as OpenLineage's naming has it.

    `version` is a table's version, a data set's id or a model's; `fields` are names and types; `facts` whatever else
    identifies it, such as ranges of offsets, as JSON can hold it.
    """

    namespace: str
    name: str
    version: str | None = None
    fields: Sequence[tuple[str, str]] = ()
    facts: Mapping[str, Any] | None = None
    rows: int | None = None


@dataclass(frozen=True)
class JobRun:
    """One attempt at a job, as far as it is known.

    `kind` says what it does, such as "training". `trigger` and `gates` are as they stand on P.retrain-triggers and on
    P.models.
    """

    pipeline: str
    job_id: str
    attempt: int = 1
    kind: str = "training"
    inputs: Sequence[LineageDataset] = ()
    outputs: Sequence[LineageDataset] = ()
    trigger: Mapping[str, Any] | None = None
    gates: Sequence[Mapping[str, Any]] = ()
    error: str | None = None

    @property
    def run_id(self) -> str:
        """The run's id, which follows from the job's and the attempt: told twice, it is the same run.

        >>> JobRun("flights", "job-7").run_id == JobRun("flights", "job-7").run_id
        True
        >>> JobRun("flights", "job-7").run_id == JobRun("flights", "job-7", attempt=2).run_id
        False
        """
        return str(uuid.uuid5(_RUNS, f"{self.pipeline}/{self.job_id}/{self.attempt}"))


def topic_dataset(
    bootstrap_servers: str, topic: str, offsets: Mapping[int, tuple[int, int]] | None = None, **more: Any
) -> LineageDataset:
    """A Kafka topic; `offsets` are the first and the last read of each partition.

    >>> topic_dataset("kafka-1:9092,kafka-2:9092", "flights.features").namespace
    'kafka://kafka-1:9092'
    """
    ranges = [{"partition": p, "first": first, "last": last} for p, (first, last) in sorted((offsets or {}).items())]
    facts = {"offsets": ranges} if offsets else None
    return LineageDataset(f"kafka://{bootstrap_servers.split(',')[0]}", topic, facts=facts, **more)


def table_dataset(path: str, version: int, **more: Any) -> LineageDataset:
    """A Delta table, in a folder or by a URL.

    >>> table_dataset("s3://lake/flights/features", 7)
    LineageDataset(namespace='s3://lake', name='flights/features', version='7', fields=(), facts=None, rows=None)
    """
    url = urlsplit(path)
    if url.scheme and url.netloc:
        return LineageDataset(f"{url.scheme}://{url.netloc}", url.path.lstrip("/"), str(version), **more)
    return LineageDataset("file", url.path, str(version), **more)


def model_dataset(bootstrap_servers: str, pipeline: str, version: str, **more: Any) -> LineageDataset:
    """A version of a pipeline's model, as P.models names it."""
    return replace(topic_dataset(bootstrap_servers, f"{pipeline}.models"), version=version, **more)


class Lineage:
    """Tells what becomes of jobs; made by `open_lineage`."""

    def __init__(self, emit: Emit, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._emit, self._now = emit, now

    def tell(self, state: State, run: JobRun) -> bool:
        """Send an event; whether that was possible. It never raises."""
        try:
            self._emit(run.run_id.encode(), run_event(state, run, self._now()))
        except Exception as error:  # noqa: BLE001 - a server that is away must not cost a model
            log.warning("the lineage of job %s as %s is lost (%s: %s)", run.job_id, state, type(error).__name__, error)
            return False
        return True


def open_lineage(target: str | None, pipeline: str, make_sender: Callable[[], Sender] | None = None) -> Lineage:
    """Lineage to a file of JSON lines, to a URL of an OpenLineage server, or with "topic" to P.lineage.

    A URL without a path gets the one of OpenLineage's API. With None nothing is told. A file's folder is made.

    Raises:
        DeclarationError: it is neither.

    """
    if target is None:
        return Lineage(lambda run, event: None)  # noqa: ARG005
    if target == "topic":
        if make_sender is None:
            raise DeclarationError("lineage to a topic needs a sender")
        return Lineage(_to_topic(f"{pipeline}.{TOPIC}", make_sender))
    if "://" in target:
        url = urlsplit(target)
        if url.scheme not in ("http", "https"):
            raise DeclarationError(f"lineage to {url.scheme}://…: expected a file, an http(s) URL, or `topic`")
        return Lineage(_to_http(target if url.path.strip("/") else target.rstrip("/") + _API))
    return Lineage(_to_file(Path(target)))


def _to_file(path: Path) -> Emit:
    def emit(run: bytes, event: bytes) -> None:  # noqa: ARG001
        path.parent.mkdir(parents=True, exist_ok=True)
        # One write per line: several jobs may append to one file.
        with path.open("ab", buffering=0) as file:
            file.write(event + b"\n")

    return emit


def _to_http(url: str) -> Emit:
    headers = {"Content-Type": "application/json"}
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    if user:
        # urllib would take a user and a password for a part of the host's name.
        url = urlunsplit(parts._replace(netloc=host))
        headers["Authorization"] = f"Basic {base64.b64encode(unquote(user).encode()).decode()}"

    def emit(run: bytes, event: bytes) -> None:  # noqa: ARG001
        request = urllib.request.Request(url, event, headers, method="POST")  # noqa: S310 - http or https
        with urllib.request.urlopen(request, timeout=_HTTP_SECONDS) as answer:  # noqa: S310
            if answer.status >= 300:
                raise StreamError(f"expected the server to take it, got status {answer.status}")

    return emit


def _to_topic(topic: str, make_sender: Callable[[], Sender]) -> Emit:
    made: list[Sender] = []

    def emit(run: bytes, event: bytes) -> None:
        if not made:
            made.append(make_sender())
        made[0].send(topic, run, event, headers=[("content-type", b"application/json")])
        made[0].flush()

    return emit


def run_event(state: State, run: JobRun, now: datetime) -> bytes:
    """An OpenLineage RunEvent as JSON.

    Raises:
        DeclarationError: openlineage-python is not installed, or there is no such state.

    """
    if state not in STATES:
        raise DeclarationError(f"there is no state {state!r}{nearest(state, STATES)}")
    ol = _classes()
    facets: dict[str, Any] = {}
    if run.trigger is not None:
        facets["tidemill_trigger"] = ol.run_facet("Trigger", trigger=_plain(run.trigger))
    if run.gates:
        facets["tidemill_gates"] = ol.run_facet("Gates", gates=[_plain(gate) for gate in run.gates])
    facets["tidemill_job"] = ol.run_facet("Job", jobId=run.job_id, attempt=run.attempt)
    if run.error is not None:
        facets["errorMessage"] = ol.error(message=run.error, programmingLanguage="python", producer=PRODUCER)
    event = ol.event(
        eventType=ol.state[state],
        eventTime=now.isoformat(),
        run=ol.run(runId=run.run_id, facets=facets),
        job=ol.job(namespace="tidemill", name=f"{run.pipeline}.{run.kind}"),
        inputs=[ol.dataset(given, output=False) for given in run.inputs],
        outputs=[ol.dataset(given, output=True) for given in run.outputs],
        producer=PRODUCER,
    )
    made: bytes = ol.to_json(event)
    return made


def _plain(value: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(value, default=str))
    return plain


@cache
def _classes() -> Any:
    try:
        from tidemill.streams.lineage_classes import Classes
    except ImportError as error:
        raise DeclarationError(
            f"lineage needs openlineage-python ({error}): pip install 'tidemill[training]'"
        ) from None
    return Classes(PRODUCER)
