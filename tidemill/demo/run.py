"""The demo: January, a model, the rest of the year, and the proof at the end."""

import shutil
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tidemill.client import Client
from tidemill.demo.cluster import (
    Check,
    control_has_read,
    embedded_broker,
    group_has_read,
    running_control,
    running_jobs,
    running_workers,
    worker_figures,
)
from tidemill.demo.drift import incident_rows, performance_in_incidents
from tidemill.demo.loop import retrain_rows, static_and_adaptive, under_way
from tidemill.demo.replay import Replay
from tidemill.demo.view import Snapshot, View
from tidemill.demo.watcher import Quality, Watcher, quality
from tidemill.loading import load_pipeline
from tidemill.pipeline import Pipeline
from tidemill.report import build, page
from tidemill.report.source import read_material
from tidemill.schemas.errors import ModelError, StreamError
from tidemill.streams.audit import audit
from tidemill.streams.kafka.admin import describe_group
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.outcomes.status import label_status
from tidemill.streams.rollout_log import RolloutLog
from tidemill.training import Stretch, train

PIPELINE = "tidemill.examples.flights.pipeline"
FEBRUARY = datetime(2013, 2, 1, 5, tzinfo=UTC)
END = datetime(2015, 1, 1, tzinfo=UTC)
STALLED_SECONDS = 90.0
WAITED_FOR = 5
"""For so many jobs the year stands still, however slow the machine; those after them are trained beside it."""
MOST_UNANSWERED = 4_000
"""Events on their way beyond which no more are sent: what drifts is to be noticed while it does."""
RECENT = 20_000


@dataclass(frozen=True)
class DemoOptions:
    """How the demo runs: `seconds` for February to December (0: as fast as it goes), and on what cluster."""

    seconds: float = 60.0
    workers: int = 1
    stages: str = "all"
    bootstrap_servers: str | None = None


def run_demo(options: DemoOptions, home: Path, view: View) -> dict[str, Any]:
    """Run it and return the summary; everything that it starts has ended when it returns or raises."""
    with ExitStack() as stack:
        checks: list[Check] = []
        if options.bootstrap_servers:
            connection = Connection.from_environment(options.bootstrap_servers)
        else:
            view.say("starting Apache Kafka")
            broker = embedded_broker(home / "demo" / "kafka", home / "kafka" / "jars")
            connection, check = stack.enter_context(broker)
            checks.append(check)
        pipeline = load_pipeline(PIPELINE)
        _refuse_leftovers(connection, pipeline.name)
        view.say(f"starting {options.workers} worker process(es), stages: {options.stages}")
        archive = home / "demo" / "archive"
        shutil.rmtree(archive, ignore_errors=True)
        parts = [
            stack.enter_context(part)
            for part in (
                running_workers(PIPELINE, pipeline.plan(), connection, options.stages, options.workers),
                running_control(PIPELINE, connection),
                running_jobs(PIPELINE, connection, archive),
            )
        ]
        checks += [part.check for part in parts]
        client = Client(pipeline, connection.bootstrap_servers)
        watcher = Watcher(client)
        stack.callback(watcher.close)
        # They end side by side, and each is waited for after that.
        for part in parts:
            stack.callback(part.leave)
        stack.enter_context(view)
        return _Year(options, pipeline, client, watcher, view, checks, home / "demo" / "report.html").run()


class _Year:
    """The replay of 2013, from the first departure to the audit."""

    def __init__(
        self,
        options: DemoOptions,
        pipeline: Pipeline,
        client: Client,
        watcher: Watcher,
        view: View,
        checks: list[Check],
        report: Path,
    ) -> None:
        from tidemill.examples.flights.data import arrivals, departures

        self._options, self._pipeline, self._client = options, pipeline, client
        self._watcher, self._view, self._checks, self._report = watcher, view, checks, report
        events, labels = departures(), arrivals()
        self._total = len(events)
        self._replay = Replay(client, events, labels)
        self._step, self._model = "waiting for the workers", "none yet: the declared prior answers"
        self._base_rate = 0.0
        self._quality: Quality | None = None
        self._checked = 0.0
        self._waited_for: set[str] = set()
        self._resumed: str | None = None
        self._seen: list[tuple[float, int]] = []

    def run(self) -> dict[str, Any]:
        self._wait_for_workers()
        name = self._pipeline.name
        january = self._stretch("January, as fast as it goes", FEBRUARY, 0)
        self._step = "training on January"
        self._tick(force=True)
        model = train(self._pipeline, self._client.connection, Stretch())
        self._wait_for_labels()
        self._base_rate = float(self._watcher.outcomes()["label"].mean())  # type: ignore[arg-type]
        self._model = f"{model['model_version']}, trained on {model['training_rows']:,} flights of January"
        since = len(self._watcher.latencies)
        rest = self._stretch("February to December", END, self._options.seconds, self._training)
        self._wait_for_labels()
        self._wait(lambda: control_has_read(self._client.connection, name), "profiles")
        self._step = "audit"
        self._tick(force=True)
        reader = KafkaReader(self._client.connection)
        predictions = self._client.contract("predictions")
        audited = audit(name, predictions, self._client.schemas, reader, lambda _: self._tick())
        labels = label_status(reader, name)
        reader.close()
        outcomes = self._watcher.outcomes()
        measured = quality(outcomes, self._base_rate)
        self._report.write_text(page(build(read_material(self._client))), encoding="utf-8")
        if measured is None:
            raise ModelError(
                "no prediction of the trained model has a label; was the model refused? See the workers' messages"
            )
        median, high = self._watcher.latency_ms(since)
        total = {
            name: sum(getattr(p, name) for p in audited)
            for name in ("events", "predictions", "rejections", "missing", "doubled")
        }
        return {
            **total,
            "rejected_by_reason": dict(sorted(self._watcher.score.reasons.items())),
            "events_per_second": round(rest, 1),
            "burst_events_per_second": round(january, 1),
            "latency_ms": {"p50": round(median, 2), "p99": round(high, 2)},
            "log_loss": {"model": round(measured.log_loss, 5), "base_rate": round(measured.base_log_loss, 5)},
            "auc": round(measured.auc, 5),
            "labelled_predictions": measured.labelled,
            "model_version": model["model_version"],
            "labels": {
                "sent": self._replay.labelled,
                **labels.counts,
                "waiting": labels.early,
                "delay_seconds": labels.delays,
                "rejected_by_reason": dict(sorted(self._watcher.score.labels.items())),
            },
            "incidents": incident_rows(self._watcher.incidents.values()),
            "performance": performance_in_incidents(self._watcher.incidents.values(), outcomes),
            "retrains": retrain_rows(
                self._watcher.triggers, self._watcher.jobs, RolloutLog(name, self._client.connection).read()
            ),
            "suppressed": dict(
                sorted(Counter(t.suppressed_by for t in self._watcher.triggers.values() if t.suppressed_by).items())
            ),
            "loop": static_and_adaptive(self._pipeline, self._client.connection, model, self._client.schemas),
            "workers": self._options.workers,
            "stages": self._options.stages,
            "report": str(self._report),
            "audit": [vars(p) for p in audited],
        }

    def _training(self) -> bool:
        """Whether the year is to wait: for answers, or for a job, which would take weeks of a year of two minutes."""
        if self._replay.sent - self._watcher.score.answered > MOST_UNANSWERED:
            return True
        for trigger in under_way(self._watcher.triggers, self._watcher.jobs):
            if trigger not in self._waited_for and len(self._waited_for) >= WAITED_FOR:
                continue
            self._waited_for.add(trigger)
            self._resumed = self._resumed or self._step
            job = self._watcher.jobs.get(trigger)
            self._step = f"training: {job.step if job is not None and job.step else 'a job is queued'}"
            return True
        if self._resumed is not None:
            self._step, self._resumed = self._resumed, None
        return False

    def _stretch(self, step: str, until: datetime, seconds: float, held: Callable[[], bool] = lambda: False) -> float:
        """Send what was known before `until`, wait for every answer; returns answered events a second."""
        self._step = step
        before, started = self._watcher.score.answered, time.monotonic()
        self._replay.send(int(until.timestamp() * 1_000_000), seconds, self._tick, held)
        answered, moved = self._watcher.score.answered, time.monotonic()
        while self._watcher.score.answered < self._replay.sent:
            self._tick()
            time.sleep(0.02)
            if self._watcher.score.answered > answered:
                answered, moved = self._watcher.score.answered, time.monotonic()
            elif time.monotonic() - moved > STALLED_SECONDS:
                raise StreamError(
                    f"{self._replay.sent - answered:,} events are unanswered; nothing came for {STALLED_SECONDS:.0f} s;"
                    " see the workers' messages above"
                )
        return (self._watcher.score.answered - before) / (time.monotonic() - started)

    def _wait_for_labels(self) -> None:
        """Until all labels that were sent are joined, or given up."""
        self._wait_for_group("label_intake", "labels")
        self._wait_for_group("outcomes", "scored")

    def _wait_for_group(self, group: str, topic: str) -> None:
        name, connection = self._pipeline.name, self._client.connection
        self._wait(lambda: group_has_read(connection, f"{name}.{group}", f"{name}.{topic}"), topic)

    def _wait(self, done: Callable[[], bool], topic: str) -> None:
        deadline = time.monotonic() + STALLED_SECONDS
        while not done():
            self._tick()
            time.sleep(0.2)
            if time.monotonic() > deadline:
                raise StreamError(f"{topic} was not read to its end in {STALLED_SECONDS:.0f} s; see the messages above")

    def _wait_for_workers(self) -> None:
        """Until every partition has a worker: the first stretch is to measure work, not the start of processes."""
        name = self._pipeline.name
        deadline = time.monotonic() + STALLED_SECONDS
        plan = self._pipeline.plan()
        groups = plan.stages if self._options.stages == "each" else [task[0] for task in plan.tasks(plan.stages)]
        while any(describe_group(self._client.connection, f"{name}.{stage}").state != "STABLE" for stage in groups):
            self._tick()
            time.sleep(0.1)
            if time.monotonic() > deadline:
                raise StreamError(
                    f"no worker was ready within {STALLED_SECONDS:.0f} s; see the workers' messages above"
                )

    def _tick(self, *, force: bool = False) -> None:
        """Look after the processes, and show how things are when that is due."""
        now = time.monotonic()
        if not force and now - self._checked < 0.5:
            return
        self._checked = now
        for check in self._checks:
            check()
        if self._watcher.failure is not None:
            raise self._watcher.failure
        if not (force or self._view.due):
            return
        score = self._watcher.score
        self._seen = [*self._seen, (now, score.answered)][-4:]
        (first, before), (last, after) = self._seen[0], self._seen[-1]
        lag, batch = worker_figures(self._pipeline.name)
        self._quality = quality(self._watcher.outcomes(RECENT), self._base_rate)
        self._view.show(
            Snapshot(
                step=self._step,
                day=self._replay.day,
                total=self._total,
                sent=self._replay.sent,
                predictions=score.predictions,
                rejections=score.rejections,
                reasons=dict(score.reasons),
                rate=(after - before) / (last - first) if last > first else 0.0,
                lag=lag,
                latency_ms=self._watcher.latency_ms(max(0, len(self._watcher.latencies) - 100)),
                batch_ms=batch,
                model=self._model,
                quality=self._quality,
                outcomes=score.outcomes,
                incidents=list(self._watcher.incidents.values()),
            )
        )


def _refuse_leftovers(connection: Connection, name: str) -> None:
    reader = KafkaReader(connection)
    topic = f"{name}.events"
    if reader.topics(topic):
        raise StreamError(
            f"{topic} is on {connection.bootstrap_servers} already; the demo counts every event, so it starts"
            f" on a cluster without the topics of {name!r}: delete them, or leave out --bootstrap-servers"
        )
