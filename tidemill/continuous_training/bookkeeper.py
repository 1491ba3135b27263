"""What runs beside a job runner: MLflow is told of jobs, and its aliases follow P.models, whoever moves the models."""

import logging
import threading
import time
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.models import announcements
from tidemill.streams.plan import Plan
from tidemill.streams.tracking import Tracking
from tidemill.streams.tracking_spool import record_left

log = logging.getLogger(__name__)
_LOOKS_EVERY = 0.5
_AGAIN_AFTER = 60.0
"""Seconds until MLflow is asked again when it could not be reached."""


class Bookkeeper:
    """A thread that keeps MLflow's books: MLflow is slow to start and may be far away, and no job waits for it.

    A context manager; at its end, what is there by then is written down.
    """

    def __init__(self, plan: Plan, connection: Connection, tracking: Tracking, left: Path) -> None:
        """`left` is the folder in which jobs leave what is to be told of them."""
        self._tracking, self._left = tracking, left
        self._models = Follower(connection, plan.topic("models"))
        self._records: list[dict[str, Any]] = []
        self._begun, self._behind, self._not_before = False, True, 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bookkeeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with closing(self._models):
            while not self._stop.wait(_LOOKS_EVERY):
                self._try()
            self._not_before = 0.0
            self._try()

    def _try(self) -> None:
        try:
            self._look()
        except Exception as error:  # noqa: BLE001 - models are made and moved whether or not somebody keeps books
            log.warning("MLflow is not told of jobs and models for now (%s: %s)", type(error).__name__, error)
            self._not_before = time.monotonic() + _AGAIN_AFTER

    def _look(self) -> None:
        new = announcements(self._models, wait=not self._begun)
        self._begun = True
        self._records.extend(new)
        self._behind |= bool(new)
        if time.monotonic() < self._not_before:
            return
        # First the jobs: what they made is registered with its bytes before an alias stands for it.
        done = record_left(self._left, self._tracking)
        if self._behind and self._records:
            self._behind = not self._tracking.follow(self._records)
        if not done or (self._behind and self._records):
            self._not_before = time.monotonic() + _AGAIN_AFTER
