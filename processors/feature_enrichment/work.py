"""A batch on its way through the features."""

from collections.abc import Mapping

import numpy as np
import polars as pl
import pyarrow as pa

from tidemill.processors.feature_enrichment.isolation import FAILURES, isolate
from tidemill.processors.feature_enrichment.plan import Step
from tidemill.schemas.batch import Batch, Rejection

REASON = "enrichment_failed"


class Work:
    """The rows of a batch that are still good, with the columns computed so far in `frame`; and what was rejected."""

    def __init__(self, batch: Batch, frame: pl.DataFrame) -> None:
        self.frame = frame
        self.rejected: list[Rejection] = []
        self._batch = batch
        self._rows = np.arange(len(batch), dtype=np.int64)

    @property
    def rows_left(self) -> int:
        """How many rows are still good."""
        return len(self._rows)

    def accepted(self) -> Batch:
        """The events that are still good."""
        return self._batch.take(self._rows)

    def reject_nulls(self, field: str, role: str) -> None:
        """Reject events without a value in a field that they cannot do without."""
        column = self._batch.table[field]
        if column.null_count:
            missing = np.flatnonzero(column.take(pa.array(self._rows)).is_null().to_numpy())
            message = f"field {field!r} is null; expected a value in every event, because it is the event's {role}"
            self.frame = self.frame[np.setdiff1d(np.arange(self.rows_left), missing)]
            self._reject(dict.fromkeys(missing.tolist(), message))

    def run(self, step: Step) -> None:
        """Compute a step, and reject the events for which it cannot be."""
        if not self.rows_left:
            return
        if step.parts:
            try:
                self.frame = step.compute(self.frame)
            except FAILURES:
                for part in step.parts:
                    self.run(part)
        else:
            self.frame, failed = isolate(step.compute, self.frame)
            what = " and ".join(step.names)
            self._reject({row: f"{what} could not be computed: {why}" for row, why in failed.items()})

    def _reject(self, failed: Mapping[int, str]) -> None:
        if failed:
            self.rejected += [Rejection(int(self._rows[row]), REASON, message) for row, message in failed.items()]
            self._rows = np.delete(self._rows, list(failed))
