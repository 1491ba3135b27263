"""`make bench-adapt ARGS=--topics`: the shipped model as users run it, through a real broker with late labels.

A block of events is sent and answered, then the labels are sent that are `delay` rows old, the learner takes them and
publishes, and the worker serves what was published before the next block comes: the result does not depend on how
quick anything is. Beside it, on topics of its own, a model that was fitted once.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import adapt_methods as methods
import cluster
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
from adapt_streams import Integers, Stream

import tidemill as tm
from tidemill.cli.processes import prepare_cluster
from tidemill.learning import open_learner
from tidemill.processors.adaptation.estimators import boosted_trees
from tidemill.processors.online_inference import dump_model
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.learner import StreamLearner
from tidemill.streams.metrics import Metrics
from tidemill.streams.models import announce
from tidemill.streams.rollout_log import RolloutLog
from tidemill.streams.worker import WorkerOptions, run_worker

STREAMS, DELAYS, BLOCK = ("elec2", "insects_gradual_balanced"), (48, 1_000), 50
START, STEP = datetime(2024, 1, 1, tzinfo=UTC), timedelta(seconds=1)
STALLED_SECONDS = 600


def measure(stream: Stream, delay: int, connection: Connection, most: int = BLOCK) -> dict[str, Any]:
    """What was served, by the adaptive model and by a static one, and what the former cost."""
    block = most if not delay else max(size for size in range(1, most + 1) if delay % size == 0)
    learning = tm.Learning(every=block, idle="100ms")
    adaptive = declare(f"adaptive-{stream.name}-{delay}", stream, tm.AdaptiveClassifier(), learning)
    static = declare(f"static-{stream.name}-{delay}", stream, boosted_trees(), None)
    size = methods.first_labels(stream, delay)
    begun, spent = time.monotonic(), time.process_time()
    answers, learner = adaptively(adaptive, stream, delay, connection, block)
    seconds, spent = time.monotonic() - begun, time.process_time() - spent
    records = RolloutLog(adaptive.name, connection).rollout().records
    unmoved = statically(static, stream, connection, size)
    for pipeline in (adaptive, static):
        cluster.drop(connection, pipeline.name)
    policy = learner._learner.model._policy
    return {
        "accuracy": round(methods.accuracy(stream, answers), 4),
        "static": round(methods.accuracy(stream, unmoved), 4),
        "no_change": round(methods.accuracy(stream, methods.no_change(stream, delay).answers), 4),
        "rows": len(stream.labels),
        "block": block,
        "versions": len(records),
        "largest_version_bytes": max(record["artefact_bytes"] for record in records),
        "promotions": policy.promotions,
        "fits": policy.fits,
        "alarms": sum(record["reason"].count("alarm at label") for record in records),
        "seconds": round(seconds),
        "cpu_s": round(spent),
    }


def declare(name: str, stream: Stream, estimator: Any, learning: tm.Learning | None) -> tm.Pipeline:
    """A pipeline of a stream's rows, which come a second apart."""
    at = {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}
    key, features = {"name": "id", "type": "string"}, [f"f{n}" for n in range(stream.rows.shape[1])]
    numbers = [{"name": feature, "type": "double"} for feature in features]
    classes = list(range(stream.classes))
    return tm.Pipeline(
        name.replace(".", "-").replace("_", "-"),
        tm.Events({"type": "record", "name": "Row", "fields": [key, at, *numbers]}, key="id", time="at", id="id"),
        features=[tm.fields(*features)],
        labels=tm.Labels(
            {"type": "record", "name": "Label", "fields": [key, at, {"name": "label", "type": "int"}]},
            id="id",
            label=pl.col("label").cast(pl.Int64),
            classes=classes,
            time="at",
        ),
        model=tm.Model(estimator, features=features, prior=dict.fromkeys(classes, 1 / len(classes)), learning=learning),
        partitions=1,
    )


class Served(Metrics):
    """Knows the version in service."""

    version = ""

    def serves(self, version: str, served: bool) -> None:
        super().serves(version, served)
        if served:
            self.version = version


@contextmanager
def worker(pipeline: tm.Pipeline, connection: Connection) -> Iterator[Served]:
    """A worker with all stages, on a thread of this process."""
    plan, stop, metrics = pipeline.plan(), threading.Event(), Served()
    prepare_cluster(plan, connection)
    options = WorkerOptions(plan.stages)
    thread = threading.Thread(target=run_worker, args=(plan, connection, options, metrics, stop.is_set))
    thread.start()
    try:
        yield metrics
    finally:
        stop.set()
        thread.join()


class Traffic:
    """Sends rows and labels, and collects answers."""

    def __init__(self, pipeline: tm.Pipeline, stream: Stream, connection: Connection) -> None:
        self._client, self._stream = tm.Client(pipeline, connection.bootstrap_servers), stream
        self.answers: Integers = np.full(len(stream.labels), -1)
        self.versions = np.full(len(stream.labels), "", dtype=object)
        self._subscription = self._client.predictions(since="beginning", timeout=STALLED_SECONDS)
        self._results = iter(self._subscription)

    def close(self) -> None:
        """Release the connections."""
        self._subscription.close()
        self._client.close()

    def ask(self, start: int, stop: int) -> None:
        """Send rows, and wait until each is answered."""
        rows = {f"f{n}": column for n, column in enumerate(self._stream.rows[start:stop].T)}
        self._client.send_many(pa.table(self._named(start, stop) | rows))
        self._client.flush()
        for _ in range(start, stop):
            found = next(self._results)
            self.answers[int(found.event_id)] = found.value
            self.versions[int(found.event_id)] = found.model_version

    def tell(self, start: int, stop: int) -> None:
        """Send labels."""
        labels = pa.array(self._stream.labels[start:stop], pa.int32())
        self._client.send_labels(pa.table(self._named(start, stop) | {"label": labels}))
        self._client.flush()

    def _named(self, start: int, stop: int) -> dict[str, pa.Array]:
        times = pa.array([START + n * STEP for n in range(start, stop)], pa.timestamp("us", "UTC"))
        return {"id": pa.array([str(n) for n in range(start, stop)]), "at": times}


def adaptively(
    pipeline: tm.Pipeline, stream: Stream, delay: int, connection: Connection, block: int
) -> tuple[Integers, StreamLearner]:
    """All rows in blocks, each answered by what the labels before it, but for the newest `delay`, have taught."""
    told = learned = 0

    def caught_up() -> bool:
        nonlocal learned
        learned += learner.step()
        return learned >= told

    with worker(pipeline, connection) as serving, closing(Traffic(pipeline, stream, connection)) as traffic:
        learner = open_learner(pipeline, connection)
        for start in range(0, len(stream.labels), block):
            until = max(start - delay, 0)
            if until > told:
                traffic.tell(told, until)
                told = until
                wait_for(caught_up, f"{told:,} outcomes are learned")
                published = newest(pipeline, connection)
                wait_for(lambda: serving.version == published, "what was published is served")  # noqa: B023
            stop = min(start + block, len(stream.labels))
            traffic.ask(start, stop)
            by = set(traffic.versions[start:stop])
            if by != {serving.version or "prior"}:
                raise RuntimeError(f"rows {start:,} to {stop:,} were answered by {by}, not by {serving.version}")
    return traffic.answers, learner


def newest(pipeline: tm.Pipeline, connection: Connection) -> str:
    """The champion by the rollout log; nothing if there is none."""
    champion = RolloutLog(pipeline.name, connection).rollout().champion
    return "" if champion is None else champion.version


def statically(pipeline: tm.Pipeline, stream: Stream, connection: Connection, size: int) -> Integers:
    """All rows, answered by boosted trees of the first labels."""
    plan = pipeline.plan()
    assert pipeline.model is not None
    names = list(pipeline.model.features)
    frame = pd.DataFrame(stream.rows[:size], columns=names)
    event: dict[str, Any] = {
        "estimator": "HistGradientBoostingClassifier",
        "features": names,
        "classes": [str(label) for label in plan.target.classes],
        "training_offsets": [],
        "training_rows": size,
        "evaluation_rows": 0,
        "metrics": {},
    }
    artefact = dump_model(boosted_trees().fit(frame, stream.labels[:size]))
    with worker(pipeline, connection) as serving:
        announce(plan, artefact, event, datetime.now(UTC), Publisher(connection), RolloutLog(plan, connection))
        wait_for(lambda: serving.version != "", "the static model is served")
        with closing(Traffic(pipeline, stream, connection)) as traffic:
            for start in range(0, len(stream.labels), 5_000):
                traffic.ask(start, min(start + 5_000, len(stream.labels)))
    return traffic.answers


def wait_for(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + STALLED_SECONDS
    while not holds():
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {STALLED_SECONDS} s until {what}")
        time.sleep(0.005)


def table(found: dict[str, Any]) -> list[str]:
    """The results in Markdown."""
    lines = [
        "| stream | labels late | block | rows | static | adaptive | in memory | versions | largest, kB | promotions "
        "| fits | alarms |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, delays in found.items():
        for delay, mine in delays.items():
            memory = f"{mine['in_memory']:.4f}" if "in_memory" in mine else "–"
            lines.append(
                f"| {name} | {delay} | {mine['block']} | {mine['rows']:,} | {mine['static']:.4f} "
                f"| {mine['accuracy']:.4f} | {memory} | {mine['versions']:,} "
                f"| {mine['largest_version_bytes'] / 1e3:,.0f} | {mine['promotions']} | {mine['fits']} "
                f"| {mine['alarms']} |"
            )
    return lines
