"""Events in columns, with the place in the log that each row came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class Origin:
    """Where each row came from on `P.events`; arrays of equal length.

    `timestamp` is the Kafka record's own, in milliseconds since the epoch. Stages take it for "now", so that a replay
    decides as the live run did.
    """

    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    timestamp: NDArray[np.int64]
    row: NDArray[np.int64]
    """The row's position among the messages that the worker consumed, to find its original bytes again."""

    passed: NDArray[np.bool_] | None = None
    """Which rows are copies of events that passed the sanity check before and were refused later; None: no row is."""

    def __len__(self) -> int:
        return len(self.partition)

    def take(self, rows: NDArray[np.int64]) -> "Origin":
        """Keep `rows`, in the order given."""
        passed = None if self.passed is None else self.passed[rows]
        return Origin(self.partition[rows], self.offset[rows], self.timestamp[rows], self.row[rows], passed)


@dataclass(frozen=True)
class Batch:
    """Rows of one contract, sorted by partition and, within a partition, by offset."""

    table: pa.Table
    origin: Origin

    def __len__(self) -> int:
        return len(self.origin)

    def take(self, rows: NDArray[np.int64]) -> "Batch":
        """Keep `rows`, in the order given."""
        if len(rows) == len(self):
            return self
        return Batch(self.table.take(pa.array(rows)), self.origin.take(rows))

    def with_table(self, table: pa.Table) -> "Batch":
        """The same rows with other columns."""
        return replace(self, table=table)

    def partitions(self) -> list[tuple[int, slice]]:
        """Each partition in the batch with the rows that it holds."""
        if not len(self):
            return []
        ids, starts = np.unique(self.origin.partition, return_index=True)
        stops = [*starts[1:].tolist(), len(self)]
        return [(int(p), slice(int(a), int(b))) for p, a, b in zip(ids, starts, stops, strict=True)]


@dataclass(frozen=True)
class Rejection:
    """Why one row goes to `P.rejected`.

    `reason` is a short code of a closed set (a metric's label); `message` is a sentence that says what was expected,
    what came, and what to do.
    """

    row: int
    reason: str
    message: str


@dataclass(frozen=True)
class Processed:
    """What a stage made of a batch: every row of it is in `accepted` or in `rejected`, never in both.

    `Rejection.row` counts in the batch that the stage was given. `warnings` counts the rows that failed a check
    which only warns. `beside` are further rows for other topics, by suffix; their origins are those of their events.
    """

    accepted: Batch
    rejected: tuple[Rejection, ...] = ()
    warnings: Mapping[str, int] = field(default_factory=dict)
    beside: Mapping[str, Batch] = field(default_factory=dict)
