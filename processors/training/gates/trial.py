"""What was measured when a candidate was loaded and asked as a worker would: figures, taken in a process of its own."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Trial:
    """Figures of a candidate's trial run; times are in milliseconds, memory in MiB.

    `failure` is why the run came to no end: the model could not be loaded, its process died or its time was over.
    Then the other figures are of how far it came.
    """

    load_ms: float = 0.0
    row_p99_ms: float = 0.0
    """The 99th percentile of the time for one row alone."""
    batch_p99_ms: float = 0.0
    """That for a batch of `batch_rows`."""
    batch_rows: int = 0
    memory_mb: float = 0.0
    """How much loading and scoring have added to the process's largest size."""
    scored: int = 0
    """Rows that were scored, as they were served."""
    failed: int = 0
    extremes: int = 0
    """Rows with nulls, unseen categories and outermost numbers that were scored."""
    extremes_failed: int = 0
    complaint: str = ""
    """What the first failing row failed with."""
    compared: int = 0
    """Scores that were compared with those of the same row in other company."""
    differing: int = 0
    failure: str = ""

    def record(self) -> dict[str, Any]:
        """The trial as JSON can hold it."""
        return asdict(self)

    @staticmethod
    def from_record(record: Mapping[str, Any]) -> "Trial":
        """The trial that `record` holds."""
        return Trial(**record)
