"""The job runner: triggers are a queue that a consumer group shares, and each ends in one transaction.

What is written of a job goes with the offset of its trigger, under the generation of the group (KIP-447): a runner that
has lost the trigger's partition can write nothing more. The offset moves on with the record that ends the job. So a
job whose runner dies is taken up by another one, and no job ends twice.
"""

import logging
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from tidemill.schemas.errors import CommitAborted
from tidemill.streams.jobs.launcher import JobSpec, Launcher, Running, Told
from tidemill.streams.jobs.metrics import JobMetrics
from tidemill.streams.jobs.status import ENDED, JobLog
from tidemill.streams.ports import Committer, Output, Prepared, Source
from tidemill.streams.retraining import decode_triggers, encode_job

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunnerOptions:
    """How often a job that fails is begun again, and after how many seconds: twice as many each time.

    An attempt that did not fail by itself was interrupted: its runner died, or lost the trigger. `interruptions` is
    how many of these a job has in all, so that one which kills its runner each time ends as well.
    """

    attempts: int = 3
    interruptions: int = 20
    backoff: float = 10.0
    longest_backoff: float = 600.0
    poll_seconds: float = 0.2


@dataclass
class _Queued:
    """A trigger that was read: where it stands, and not before when its job is begun."""

    partition: int
    offset: int
    trigger: dict[str, Any]
    attempt: int = 0
    failures: int = 0
    not_before: float = 0.0


class JobRunner:
    """Runs one job at a time; more runners run more of them.

    `publish` puts what a job made on the rollout log; it does so once for each job, however often it is called.
    `cancelled` gives the ids of jobs that somebody has cancelled, `clock` seconds that only grow.
    """

    def __init__(
        self,
        topic: str,
        name: str,
        source: Source,
        committer: Committer,
        jobs: JobLog,
        launcher: Launcher,
        publish: Callable[[str, Mapping[str, Any]], None],
        cancelled: Callable[[], Collection[str]],
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float],
        options: RunnerOptions | None = None,
        metrics: JobMetrics | None = None,
    ) -> None:
        self._topic, self._name, self._source, self._committer = topic, name, source, committer
        self._jobs, self._launcher, self._publish, self._cancelled = jobs, launcher, publish, cancelled
        self._now, self._clock, self._options = now, clock, options or RunnerOptions()
        self._metrics = metrics or JobMetrics()
        self._queue: deque[_Queued] = deque()
        self._passed: dict[int, int] = {}
        """By partition the offset after triggers that need no job, until the next commit."""
        self._current: _Queued | None = None
        self._running: Running | None = None
        self._last: dict[str, Any] = {}
        self._ending: dict[str, Any] | None = None

    @property
    def idle(self) -> bool:
        """Whether it has nothing in hand."""
        return self._current is None and not self._queue and not self._passed

    def step(self) -> None:
        """Read on, and see to the job in hand. Returns soon: what takes long is in another process."""
        self._take_triggers()
        try:
            if self._current is None:
                self._begin_next()
            elif self._ending is not None:
                self._end(self._ending)
            else:
                self._look_after(self._current)
            if self._current is None and not self._queue:
                self._commit_passed()
        except CommitAborted as error:
            # A rebalance, mostly: whatever is still this runner's is written again after the next poll.
            log.info("%s", error)
        self._metrics.running.set(self._running is not None)
        self._metrics.waiting.set(len(self._queue))

    def hand_over(self) -> None:
        """Put the job in hand back into the queue: that its runner is stopped is none of its attempts."""
        job = self._current
        if job is None or self._running is None or self._ending is not None:
            return
        self._drop()
        job.attempt -= 1
        try:
            self._write(job, "queued", reason="its runner was stopped; the next one takes it up")
        except CommitAborted as error:
            log.info("%s", error)

    def close(self) -> None:
        """Let go of the job in hand: another runner takes it up."""
        self._drop()

    def assigned(self, partition: int) -> int | None:  # noqa: ARG002
        """Where the group has committed is where a partition begins."""
        return None

    def revoked(self, partition: int) -> None:
        """Another runner's now, with the job in hand if it came from there."""
        self._queue = deque(each for each in self._queue if each.partition != partition)
        self._passed.pop(partition, None)
        if self._current is not None and self._current.partition == partition:
            log.info("job %s goes to another runner", self._current.trigger["id"])
            self._drop()

    def _take_triggers(self) -> None:
        records = self._source.poll(100, self._options.poll_seconds)
        for row, trigger in enumerate(decode_triggers(list(records.values)) if len(records) else []):
            partition, offset = int(records.partition[row]), int(records.offset[row])
            if trigger is None:
                log.error("retrain-triggers[%d]@%d is no trigger; it is passed over", partition, offset)
            if trigger is None or trigger["state"] != "fired":
                if not any(each.partition == partition for each in (*self._queue, *self._held())):
                    self._passed[partition] = offset + 1
                continue
            self._queue.append(_Queued(partition, offset, trigger))

    def _held(self) -> list[_Queued]:
        return [] if self._current is None else [self._current]

    def _begin_next(self) -> None:
        ready = next((each for each in self._queue if each.not_before <= self._clock() and self._is_first(each)), None)
        if ready is None:
            return
        job = ready.trigger["id"]
        known = self._jobs.of(job)
        self._queue.remove(ready)
        self._current = ready
        if known is not None and known["state"] in ENDED:
            self._finish(ready)
            return
        if known is not None:
            ready.attempt = max(ready.attempt, known["attempt"])
            ready.failures = max(ready.failures, known["failures"])
        interrupted = ready.attempt - ready.failures
        if job in self._cancelled():
            self._end_with("cancelled", "it was cancelled before it began")
        elif interrupted >= self._options.interruptions:
            self._end_with("failed", f"it was interrupted {interrupted} times: its runners died or lost it")
        else:
            ready.attempt += 1
            self._write(ready, "running", step="starting", reason=ready.trigger["reason"])
            log.info("job %s begins, attempt %d: %s", job, ready.attempt, ready.trigger["reason"])
            self._running = self._launcher.launch(JobSpec(job, ready.attempt, ready.trigger))

    def _is_first(self, queued: _Queued) -> bool:
        """Whether no trigger before it on its partition is left: the offset moves on in order."""
        return min(each.offset for each in self._queue if each.partition == queued.partition) == queued.offset

    def _look_after(self, job: _Queued) -> None:
        if self._running is None:
            # What was to be written of its beginning was not.
            self._queue.appendleft(job)
            job.attempt, self._current = job.attempt - 1, None
            return
        if job.trigger["id"] in self._cancelled():
            self._running.cancel()
            self._end_with("cancelled", "it was cancelled")
            return
        told = self._running.poll()
        if told.result is not None:
            self._take_result(told.result)
        elif told.failure is not None:
            self._take_failure(job, told.failure)
        else:
            self._tell_progress(job, told)

    def _tell_progress(self, job: _Queued, told: Told) -> None:
        if told.steps:
            last = told.steps[-1]
            progress = min(max(float(last.get("progress", 0.0)), 0.0), 1.0)
            self._write(job, "running", step=str(last.get("step", "")), progress=progress)

    def _take_result(self, result: Mapping[str, Any]) -> None:
        fields = {name: result[name] for name in _RESULT if name in result}
        self._ending = {"state": result["state"], "progress": 1.0, "result": result, **fields}
        self._end(self._ending)

    def _take_failure(self, job: _Queued, failure: str) -> None:
        self._running = None
        self._metrics.failures.inc()
        options = self._options
        job.failures += 1
        if job.failures >= options.attempts:
            self._end_with("failed", f"{failure} (failure {job.failures} of {options.attempts})")
            return
        wait = min(options.backoff * 2 ** (job.failures - 1), options.longest_backoff)
        log.warning("job %s: %s; it begins again in %g s", job.trigger["id"], failure, wait)
        job.not_before, self._current = self._clock() + wait, None
        self._queue.appendleft(job)
        self._write(job, "queued", reason=f"{failure}; it begins again after {wait:g} s")

    def _end_with(self, state: str, reason: str) -> None:
        self._ending = {"state": state, "reason": reason}
        self._end(self._ending)

    def _end(self, ending: Mapping[str, Any]) -> None:
        job = self._current
        assert job is not None
        row = {name: value for name, value in ending.items() if name not in ("state", "result")}
        if "result" in ending:
            # Written first: a runner that has lost the trigger meanwhile is stopped here, before it announces anything.
            self._write(job, "running", step="announcing", progress=1.0)
            self._publish(job.trigger["id"], ending["result"])
        self._write(job, ending["state"], ended=True, **row)
        self._metrics.ended.labels(ending["state"]).inc()
        log.info("job %s %s: %s", job.trigger["id"], ending["state"], ending.get("reason", ""))
        self._clear()

    def _finish(self, job: _Queued) -> None:
        """It has ended already; only its offset had not moved on."""
        self._committer.commit(Prepared([], [], {job.partition: job.offset + 1}))
        self._clear()

    def _write(self, job: _Queued, state: str, *, ended: bool = False, **fields: Any) -> None:
        row = {
            "id": job.trigger["id"],
            "pipeline": job.trigger["pipeline"],
            "state": state,
            "attempt": job.attempt,
            "failures": job.failures,
            "runner": self._name,
            "at": self._now(),
            "cause": job.trigger["cause"],
            **{name: _EMPTY[name] for name in _EMPTY},
            **fields,
        }
        key, value, headers = encode_job(row)
        one = np.zeros(1, np.int64)
        output = Output(
            self._topic, one.astype(np.int32), one + round(row["at"].timestamp() * 1000), [key], [value], [headers]
        )
        self._committer.commit(Prepared([output], [], {job.partition: job.offset + int(ended)}))

    def _commit_passed(self) -> None:
        if self._passed:
            self._committer.commit(Prepared([], [], dict(self._passed)))
            self._passed.clear()

    def _drop(self) -> None:
        if self._running is not None:
            self._running.cancel()
        self._clear()

    def _clear(self) -> None:
        self._current = self._running = self._ending = None


_EMPTY: Mapping[str, Any] = {
    "step": "",
    "progress": 0.0,
    "reason": "",
    "dataset": "",
    "candidate": "",
    "model_version": "",
    "metrics": {},
    "gates": "[]",
    "epsilon": 0.0,
}
_RESULT = ("reason", "dataset", "candidate", "model_version", "metrics", "gates", "epsilon")
