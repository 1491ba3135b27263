"""What subscribers get: predictions, rejections and alerts as plain objects."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from tidemill.streams.ports import LogRecord
from tidemill.streams.rejections import StoredRejection

_SCORE = "probability_"
_DELAY = "label_delay_ms"


@dataclass(frozen=True)
class Prediction:
    """An answer to one event. `probabilities` is by class name, and empty for a regression."""

    event_id: str
    event_key: str | None
    event_time: datetime
    value: Any
    probabilities: Mapping[str, float]
    model_version: str
    source_partition: int
    source_offset: int

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Prediction":
        """Make it of a row of the predictions contract."""
        scores = {name.removeprefix(_SCORE): value for name, value in row.items() if name.startswith(_SCORE)}
        plain = {name: value for name, value in row.items() if not name.startswith(_SCORE)}
        return cls(**plain, probabilities=scores)


@dataclass(frozen=True)
class Outcome:
    """What happened in one event, beside what was predicted. Of several for an event the last one counts.

    `features` are those that the model was shown. `label_delay` is from the event to its label. `revision` grows with
    each label that changes the one before.
    """

    event_id: str
    event_time: datetime
    features: Mapping[str, Any]
    value: Any
    probabilities: Mapping[str, float]
    model_version: str
    label: Any
    label_time: datetime
    label_delay: timedelta
    revision: int
    confidence: float | None
    annotator: str | None
    source_partition: int
    source_offset: int

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Outcome":
        """Make it of a row of the outcomes contract."""
        scores = {name.removeprefix(_SCORE): value for name, value in row.items() if name.startswith(_SCORE)}
        own = {field.name for field in fields(cls)}
        plain = {name: value for name, value in row.items() if name in own}
        features = {n: v for n, v in row.items() if n not in own and n != _DELAY and not n.startswith(_SCORE)}
        delay = timedelta(milliseconds=row[_DELAY])
        return cls(**plain, probabilities=scores, features=features, label_delay=delay)


@dataclass(frozen=True)
class Rejection:
    """An event that was not answered: its original key and bytes, where it stands, and why.

    `reason` is a code of a small set; `message` says what was expected and what came.
    """

    stage: str
    reason: str
    message: str
    topic: str
    partition: int
    offset: int
    timestamp: datetime
    key: bytes | None
    value: bytes | None

    @classmethod
    def from_record(cls, record: LogRecord) -> "Rejection":
        """Make it of a message of P.rejected."""
        found = StoredRejection.of(record)
        return cls(
            stage=found.stage,
            reason=found.reason,
            message=found.message,
            topic=found.topic,
            partition=found.partition,
            offset=found.offset,
            timestamp=datetime.fromtimestamp(record.timestamp / 1000, UTC),
            key=record.key,
            value=record.value,
        )


@dataclass(frozen=True)
class Alert:
    """An incident as it stood when this was written; all times are event time.

    `statistic` is what the detector measured, and `threshold` what it should have stayed within. `offsets` are the
    events of the window, by partition. `evidence` is JSON. The fields are those of `schemas/drift_alert.avsc`.
    """

    id: str
    revision: int
    state: Literal["opened", "updated", "resolved"]
    pipeline: str
    kind: str
    subject: str
    slice: str
    detector: str
    severity: Literal["warning", "critical"]
    statistic: float
    threshold: float
    effect: float | None
    estimated: bool
    window_start: datetime
    window_end: datetime
    offsets: Sequence[Mapping[str, int]]
    reference: str
    opened_at: datetime
    updated_at: datetime
    muted: bool
    acknowledged_by: str | None
    note: str
    message: str
    evidence: str

    @property
    def delivery_id(self) -> str:
        """Names this change of the incident: what comes twice under one name is the same."""
        return f"{self.id}.{self.revision}"

    def as_json(self) -> str:
        """As one JSON object, with the evidence as an object in it."""
        return json.dumps({**asdict(self), "evidence": json.loads(self.evidence)}, default=datetime.isoformat)


@dataclass(frozen=True)
class RetrainTrigger:
    """Why a new model is wanted, or why it is not; the fields are those of `schemas/retrain_trigger.avsc`.

    `at` and `since` are event time. A job follows from one that has `fired`, under the same id.
    """

    id: str
    pipeline: str
    state: Literal["fired", "suppressed"]
    cause: Literal["drift_alert", "performance", "schedule", "labels", "request"]
    at: datetime
    since: datetime | None
    reference: str
    suppressed_by: str | None
    reason: str
    who: str
    evidence: str


@dataclass(frozen=True)
class TrainingJob:
    """How a training job stood when this was written; the fields are those of `schemas/training_job.avsc`."""

    id: str
    pipeline: str
    state: Literal["queued", "running", "succeeded", "refused", "failed", "cancelled"]
    attempt: int
    failures: int
    runner: str
    step: str
    progress: float
    at: datetime
    cause: str
    reason: str
    dataset: str
    candidate: str
    model_version: str
    metrics: Mapping[str, float]
    gates: str
    epsilon: float

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "TrainingJob":
        """Make it of a row of the contract."""
        return cls(**{**row, "metrics": dict(row["metrics"])})
