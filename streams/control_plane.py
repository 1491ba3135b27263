"""The control plane between its topics and its state: records in, alerts and entries out."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, TypeVar

from tidemill.processors.drift.windows import Delta, Mergeable
from tidemill.streams.alerts import alert_row, decode_action, encode_alert
from tidemill.streams.control_metrics import ControlMetrics
from tidemill.streams.control_state import ControlState
from tidemill.streams.ports import Headers, LogRecord
from tidemill.streams.retraining import ENDED, decode_jobs, encode_trigger, request_of, trigger_row

T = TypeVar("T", bound=Mergeable)
log = logging.getLogger(__name__)
Alert = tuple[bytes, bytes, Headers]
Entry = tuple[bytes, bytes | None]


class ControlPlane(Generic[T]):
    """Reads records and answers what is to be written for them; see `ControlState.drain` for the order.

    `read` makes a delta of each record of P.profiles; it answers None, and says why in the log, for what is none.
    """

    def __init__(
        self,
        pipeline: str,
        make_state: Callable[[], ControlState[T]],
        read: Callable[[Sequence[LogRecord]], Sequence[Delta[T] | None]],
        metrics: ControlMetrics,
    ) -> None:
        self._pipeline, self._make_state, self._read, self._metrics = pipeline, make_state, read, metrics
        self._state: ControlState[T] | None = None

    @property
    def active(self) -> bool:
        """Whether it has its state: a stand-by has none."""
        return self._state is not None

    def begin(self, entries: Mapping[bytes, bytes]) -> None:
        """Take over with what was kept."""
        self._state = self._make_state()
        self._state.restore({key.decode(): value for key, value in entries.items()})
        self._show()

    @property
    def next_profile(self) -> int:
        """The offset of the first record of P.profiles, which has one partition, that is not in the state."""
        return self._running.windows.places.get(0, -1) + 1

    @property
    def next_action(self) -> int:
        """The same of P.alert-actions."""
        return self._running.next_action

    @property
    def next_request(self) -> int:
        """The same of P.retrain-requests."""
        return self._running.next_request

    def end(self) -> None:
        """Somebody else takes over: forget everything."""
        self._state = None
        self._metrics.incidents.clear()

    def profiles(self, records: Sequence[LogRecord]) -> None:
        """Records of P.profiles."""
        for delta in self._read(records) if records else ():
            if delta is None:
                self._metrics.profiles.labels("unreadable").inc()
                continue
            before = self._running.windows.late
            self._running.take(delta)
            self._metrics.profiles.labels("late" if self._running.windows.late > before else "merged").inc()

    def actions(self, records: Sequence[LogRecord]) -> None:
        """Records of P.alert-actions."""
        for record in records:
            action = decode_action(record.value, record.offset)
            if action is None:
                log.error("alert-actions[%d]@%d is not an action; it is passed over", record.partition, record.offset)
            else:
                self._running.act(action)

    def requests(self, records: Sequence[LogRecord]) -> None:
        """Records of P.retrain-requests."""
        for record in records:
            request = request_of(record)
            if request is None or request == "unreadable":
                if request is not None:
                    log.error(
                        "retrain-requests[%d]@%d is no request; it is passed over", record.partition, record.offset
                    )
                self._running.pass_over(record.offset)
            else:
                self._running.ask(request)

    @property
    def next_job(self) -> int:
        """The same of P.training-jobs."""
        return self._running.next_job

    def jobs(self, records: Sequence[LogRecord]) -> None:
        """Records of P.training-jobs."""
        rows = decode_jobs([record.value for record in records]) if records else []
        for record, row in zip(records, rows, strict=True):
            if row is not None:
                state = row["state"]
                self._running.job(row["id"], record.offset, ended=state in ENDED, succeeded=state == "succeeded")

    def silence(self, milliseconds: int) -> None:
        """There is nothing to read, and for so long no profile has come."""
        self._running.silence(milliseconds)

    def drain(self) -> tuple[list[Alert], list[Alert], list[Entry]]:
        """The alerts and the triggers to write, and then the entries to keep."""
        step = self._running.drain()
        for incident in step.alerts:
            self._metrics.alerts.labels(incident.state, incident.alarm.severity).inc()
            log.info(
                "incident %s %s: %s (%s)",
                incident.id,
                incident.state,
                incident.alarm.message,
                incident.alarm.severity,
            )
        if step.entries:
            self._show()
        alerts = [encode_alert(alert_row(self._pipeline, incident)) for incident in step.alerts]
        for trigger in step.triggers:
            state = "fired" if trigger.fired else "suppressed"
            self._metrics.triggers.labels(state, trigger.cause, trigger.suppressed_by or "").inc()
            log.info("trigger %s %s: %s", trigger.id, state, trigger.reason)
        triggers = [encode_trigger(trigger_row(self._pipeline, trigger)) for trigger in step.triggers]
        return alerts, triggers, [(key.encode(), value) for key, value in step.entries]

    @property
    def _running(self) -> ControlState[T]:
        assert self._state is not None, "a stand-by reads nothing"
        return self._state

    def _show(self) -> None:
        windows = self._running.windows
        self._metrics.standing(self._running.incidents.standing)
        self._metrics.open_windows.set(len(windows.pending))
        for kind, end in windows.closed.items():
            self._metrics.closed_until.labels(kind).set(end / 1000)
