"""A job runner, connected to Kafka."""

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from tidemill.streams.jobs.launcher import Launcher
from tidemill.streams.jobs.metrics import JobMetrics
from tidemill.streams.jobs.runner import JobRunner, RunnerOptions
from tidemill.streams.jobs.status import JobLog
from tidemill.streams.kafka.committer import ExactlyOnce
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.source import KafkaSource
from tidemill.streams.ports import Assignments
from tidemill.streams.retraining import JOBS, REQUESTS, TRIGGERS, decode_requests

log = logging.getLogger(__name__)
Publish = Callable[[str, Mapping[str, Any]], None]


class Cancelled:
    """The ids of jobs that somebody has cancelled, from P.retrain-requests."""

    def __init__(self, follower: Follower) -> None:
        self._follower, self._ids, self._begun = follower, set[str](), False

    def __call__(self) -> set[str]:
        """As far as they have come."""
        records = self._follower.poll() if self._begun else self._follower.catch_up()
        self._begun = True
        rows = decode_requests([record.value for record in records])
        self._ids |= {row["job"] for row in rows if row is not None and row["action"] == "cancel"}
        return self._ids


class _Partitions:
    """To the source, the runner: it is made after the source, of which it needs to know."""

    runner: Assignments | None = None

    def assigned(self, partition: int) -> int | None:
        return None if self.runner is None else self.runner.assigned(partition)

    def revoked(self, partition: int) -> None:
        if self.runner is not None:
            self.runner.revoked(partition)


def run_jobs(
    pipeline: str,
    connection: Connection,
    name: str,
    launcher: Launcher,
    publish: Publish,
    stop: Callable[[], bool],
    options: RunnerOptions | None = None,
    *,
    until_idle: bool = False,
    metrics: JobMetrics | None = None,
) -> None:
    """Run jobs until `stop` says so, or with `until_idle` until every trigger that is there is answered.

    `name` is the runner's, of which there is one at a time: it names its transactions. A job that is under way at the
    end is let go, and another runner takes it up.

    Raises:
        StreamError: the cluster or the topics are not there.
        Fenced: another runner has taken this one's name.

    """
    topic, place = f"{pipeline}.{TRIGGERS}", f"{pipeline}.jobs.{name}"
    partitions = _Partitions()
    source = KafkaSource(connection, topic, f"{pipeline}.jobs", place, partitions)
    committer = ExactlyOnce(connection, source, topic, "", place)
    cancels = Follower(connection, f"{pipeline}.{REQUESTS}")
    runner = partitions.runner = JobRunner(
        f"{pipeline}.{JOBS}",
        name,
        source,
        committer,
        JobLog(Follower(connection, f"{pipeline}.{JOBS}")),
        launcher,
        publish,
        Cancelled(cancels),
        now=lambda: datetime.now(UTC),
        clock=time.monotonic,
        options=options,
        metrics=metrics,
    )
    log.info("runner %s reads %s", name, topic)
    with closing(cancels), closing(source), closing(runner):
        while not stop():
            runner.step()
            if until_idle and runner.idle and source.caught_up():
                return
        runner.hand_over()
