"""What subscribers get: predictions and rejections as plain objects."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tidemill.streams.ports import LogRecord
from tidemill.streams.rejections import StoredRejection

_SCORE = "probability_"


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
