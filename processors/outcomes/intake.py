"""The stage that takes in labels: reads what was declared out of them, and refuses what says nothing sound."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.columns import to_frame
from tidemill.processors.feature_enrichment.enrichment import instants, strings
from tidemill.processors.feature_enrichment.isolation import isolate
from tidemill.processors.frames import to_polars
from tidemill.processors.online_inference.target import Target
from tidemill.processors.outcomes.answers import LABEL, REVISION
from tidemill.processors.outcomes.early import LABEL_TIME
from tidemill.processors.outcomes.join import ANNOTATOR, CONFIDENCE
from tidemill.processors.outcomes.predictions import EVENT_ID
from tidemill.processors.sanity_check.constraints import contract_checks, describe_failure
from tidemill.processors.stage import Store
from tidemill.schemas.batch import Batch, Processed, Rejection
from tidemill.schemas.contract import Contract

LABEL_INTAKE = "label_intake"
NO_ID, BAD_LABEL = "no_id", "bad_label"
EMPTY = "empty_label"


@dataclass(frozen=True)
class LabelFields:
    """Where in a label record to find what; None where it is not declared."""

    id: str
    label: pl.Expr
    time: str | None = None
    annotator: str | None = None
    confidence: str | None = None
    revision: str | None = None


class LabelIntake:
    """A `Stage`: label records in, and for each that says something about an event the columns of `schema` out.

    A null label says nothing, and is counted as `empty_label`.
    """

    name = LABEL_INTAKE

    def __init__(self, contract: Contract, fields: LabelFields, target: Target) -> None:
        self._fields, self._target = fields, target
        self._checks = contract_checks(contract)
        self.schema = pa.schema(
            [
                pa.field(EVENT_ID, pa.string(), nullable=False),
                pa.field(LABEL, target.value_type(), nullable=False),
                pa.field(LABEL_TIME, pa.int64(), nullable=False),
                pa.field(REVISION, pa.int64(), nullable=False),
                pa.field(CONFIDENCE, pa.float64()),
                pa.field(ANNOTATOR, pa.string()),
            ]
        )

    def process(self, batch: Batch) -> Processed:
        """Reject what has no id, what breaks the contract's constraints, and what is no label."""
        table = batch.table
        faults: dict[int, Rejection] = {}
        self._check(table, faults)
        labels, empty = self._labels(table, faults)
        good = ~empty
        good[list(faults)] = False
        kept = np.flatnonzero(good)
        accepted = batch.take(kept)
        made = self._columns(accepted, labels.take(pa.array(kept)))
        warned = {EMPTY: int(empty.sum())} if empty.any() else {}
        return Processed(accepted.with_table(made), tuple(faults[row] for row in sorted(faults)), warned)

    def _check(self, table: pa.Table, faults: dict[int, Rejection]) -> None:
        id_field = self._fields.id
        missing = strings(table[id_field]).is_null().to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(missing).tolist():
            faults[row] = Rejection(row, NO_ID, f"expected an event's id in {id_field}, got null")
        frame = to_polars(table)
        for check in self._checks:
            assert check.ok is not None
            bad = frame.select(check.ok.fill_null(value=True)).to_series().not_().arg_true()
            for row in bad:
                faults.setdefault(row, Rejection(row, check.reason, describe_failure(table, row, check, check.fields)))
        if self._fields.confidence is not None:
            sure = pc.cast(table[self._fields.confidence], pa.float64())
            outside = pc.fill_null(pc.invert(pc.and_(pc.greater_equal(sure, 0.0), pc.less_equal(sure, 1.0))), False)
            for row in np.flatnonzero(outside.to_numpy()).tolist():
                got = sure[row].as_py()
                message = f"expected a confidence from 0 to 1 in {self._fields.confidence}, got {got}"
                faults.setdefault(row, Rejection(row, BAD_LABEL, message))

    def _labels(self, table: pa.Table, faults: dict[int, Rejection]) -> tuple[pa.Array, NDArray[np.bool_]]:
        """Each row's label as the target has it, and which rows have none; what is no label is a fault."""
        computed, failed = isolate(lambda part: part.select(self._fields.label.alias(LABEL)), to_frame(table))
        for row, message in failed.items():
            faults.setdefault(row, Rejection(row, BAD_LABEL, f"the label cannot be computed: {message}"))
        raw = computed[LABEL]
        # The rows for which it could be computed, in order.
        rows = np.delete(np.arange(len(table)), list(failed))
        typed, known = self._typed(raw)
        expected = f"one of {', '.join(map(str, self._target.classes))}" if self._target.classes else "a finite number"
        for place in (raw.is_not_null() & ~known).arg_true().to_list():
            row = int(rows[place])
            faults.setdefault(row, Rejection(row, BAD_LABEL, f"expected {expected} as the label, got {raw[place]!r}"))
        empty = np.zeros(len(table), bool)
        empty[rows[raw.is_null().to_numpy()]] = True
        empty[list(faults)] = False
        where = np.zeros(len(table), np.int64)
        where[rows] = np.arange(len(rows))
        return pa.array(typed.to_arrow()).cast(self._target.value_type()).take(pa.array(where)), empty

    def _typed(self, raw: pl.Series) -> tuple[pl.Series, pl.Series]:
        """The labels with the target's type, and which of them it holds."""
        classes = self._target.classes
        if not classes:
            typed = raw.cast(pl.Float64, strict=False)
            return typed, typed.is_finite().fill_null(value=False)
        known = pl.Series(classes)
        typed = raw.cast(known.dtype, strict=False)
        same = (typed.cast(raw.dtype, strict=False) == raw).fill_null(value=False)
        return typed, typed.is_in(known.implode()).fill_null(value=False) & same

    def _columns(self, accepted: Batch, labels: pa.Array) -> pa.Table:
        table, fields, count = accepted.table, self._fields, len(accepted)
        sent = pa.array(accepted.origin.timestamp * 1_000)
        times = sent if fields.time is None else pc.coalesce(instants(table[fields.time]).cast(pa.int64()), sent)
        columns = {
            EVENT_ID: strings(table[fields.id]),
            LABEL: labels,
            LABEL_TIME: times,
            REVISION: pa.array(np.zeros(count, np.int64))
            if fields.revision is None
            else pc.fill_null(pc.cast(table[fields.revision], pa.int64()), 0),
            CONFIDENCE: pa.nulls(count, pa.float64())
            if fields.confidence is None
            else pc.cast(table[fields.confidence], pa.float64()),
            ANNOTATOR: pa.nulls(count, pa.string()) if fields.annotator is None else strings(table[fields.annotator]),
        }
        return pa.table(list(columns.values()), schema=self.schema)

    def stores(self, partition: int) -> Mapping[str, Store]:  # noqa: ARG002 - a Stage
        """It keeps no state."""
        return {}

    def clock(self, partition: int) -> dict[str, int]:  # noqa: ARG002 - a Stage
        """It keeps no time."""
        return {}

    def restore_clock(self, partition: int, clock: Mapping[str, int]) -> None:
        """There is nothing to put back."""

    def drop(self, partition: int) -> None:
        """There is nothing to forget."""
