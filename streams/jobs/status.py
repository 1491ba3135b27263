"""How jobs stand: the log P.training-jobs, and the last record of each."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from tidemill.streams.ports import RecordStream
from tidemill.streams.retraining import ENDED, decode_jobs

State = Literal["queued", "running", "succeeded", "refused", "failed", "cancelled"]
__all__ = ["ENDED", "NEXT", "JobLog", "State", "latest_jobs"]
NEXT: Mapping[State, frozenset[State]] = {
    "queued": frozenset({"queued", "running", "failed", "cancelled"}),
    "running": frozenset({"queued", "running", "succeeded", "refused", "failed", "cancelled"}),
    **dict.fromkeys(("succeeded", "refused", "failed", "cancelled"), frozenset[State]()),
}
"""Which states may follow each."""


def latest_jobs(values: Iterable[bytes | None]) -> dict[str, dict[str, Any]]:
    """The last record of each job, by id; what is no job is passed over."""
    jobs: dict[str, dict[str, Any]] = {}
    for row in decode_jobs(list(values)):
        if row is not None:
            jobs[row["id"]] = row
    return jobs


class JobLog:
    """Follows P.training-jobs."""

    def __init__(self, stream: RecordStream) -> None:
        self._stream = stream
        self._jobs: dict[str, dict[str, Any]] = {}

    def of(self, job: str) -> dict[str, Any] | None:
        """How the job stands now; None if nobody has begun it."""
        self._jobs |= latest_jobs(record.value for record in self._stream.catch_up())
        return self._jobs.get(job)
