"""The stage that decides which events are sound."""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.rowwise import require_rowwise
from tidemill.processors.frames import to_polars
from tidemill.processors.sanity_check.checks import CUSTOM, EVENT_TIME, RECORD_TIME, WATERMARK, Check
from tidemill.processors.sanity_check.constraints import NanPolicy as NanPolicy
from tidemill.processors.sanity_check.constraints import calendar_range, contract_checks, describe_failure
from tidemill.processors.sanity_check.evaluation import Evaluation, Outcome
from tidemill.processors.sanity_check.private_fields import Digest, PrivateFields
from tidemill.processors.sanity_check.seen_ids import SeenIds
from tidemill.processors.stage import Store
from tidemill.schemas.batch import Batch, Origin, Processed, Rejection
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import DeclarationError, nearest

NOTHING_PRIVATE = PrivateFields()
_NEVER = np.iinfo(np.int64).min
_MICROS = {"s": 1_000_000, "ms": 1_000, "us": 1}
_EARLIEST, _LATEST = calendar_range(pa.timestamp("us"))


class SanityCheck:
    """Run the contract's own checks, then the declared ones, then those on time, then `unique`.

    An event is rejected by the first check that it fails; a check that only warns counts the events that fail it and
    were not rejected before, and one that flags marks them too, in a column of its own. The watermark and the
    remembered ids move only with events that passed everything before them, so that garbage cannot make good events
    late.

    `nan` says what NaN and infinity mean in a float field: a rejection, a null (a rejection where the field cannot be
    null), or what they are.
    """

    name = "sanity_check"

    def __init__(
        self,
        contract: Contract,
        *,
        event_id: str,
        event_time: str,
        checks: Sequence[Check] = (),
        nan: NanPolicy = "reject",
        private: PrivateFields = NOTHING_PRIVATE,
        digest: Digest | None = None,
    ) -> None:
        """`private` fields are checked, and then dropped or hashed by `digest`; no sentence quotes them."""
        self._contract = contract
        self._id, self._time, self._nan = event_id, event_time, nan
        self._private, self._digest = private, digest
        known = contract.arrow.names
        for given in checks:
            for field in given.fields:
                if field not in known:
                    raise DeclarationError(
                        f"check {given.name}: {contract.name} has no field {field!r}{nearest(field, known)}"
                    )
        rowwise = [*contract_checks(contract, nan=nan), *checks]
        read = [(c, c.ok.meta.root_names()) for c in rowwise if c.ok is not None]
        self._checks = Evaluation([c for c, roots in read if WATERMARK not in roots])
        self._late = Evaluation([c for c, roots in read if WATERMARK in roots])
        self._read = {name for _, roots in read for name in roots}
        # The time is always read: polars knows how many rows there are by having a column.
        self._columns = [name for name in known if name in self._read | {event_time}]
        self._event_time = self._clipped_time().alias(EVENT_TIME)
        uniques = [c for c in checks if c.ok is None]
        if len(uniques) > 1:
            raise DeclarationError("unique() is declared twice; once is enough")
        self._unique = uniques[0] if uniques else None
        self.flags = _flags(checks, known)
        self._seen: dict[int, SeenIds] = {}
        self._watermarks: dict[int, int] = {}
        self._probe()

    def _probe(self) -> None:
        """Find at start, not at the first event, that a check does not fit its fields or mixes rows."""
        frame = self._frame(Batch(self._contract.arrow.empty_table(), _no_origin()))
        for given in [*self._checks.checks, *self._late.checks]:
            assert given.ok is not None
            try:
                result = frame.with_columns(pl.lit(0).alias(WATERMARK)).select(given.ok.alias("ok"))
            except pl.exceptions.PolarsError as error:
                raise DeclarationError(
                    f"check {given.name} cannot be computed on {self._contract.name}: {error}"
                ) from None
            if result.schema["ok"] != pl.Boolean:
                raise DeclarationError(
                    f"check {given.name}: expected true or false for each event, got {result.schema['ok']}"
                )
            if given.reason == CUSTOM:
                try:
                    read = pa.schema([self._contract.arrow.field(name) for name in given.fields])
                    require_rowwise(given.name, given.ok, read)
                except DeclarationError as error:
                    raise DeclarationError(str(error).replace("feature", "check", 1)) from None

    def process(self, batch: Batch) -> Processed:
        """Accept the events that pass every check that rejects."""
        if self._nan == "null":
            batch = batch.with_table(_nan_to_null(batch.table, self._contract))
        frame = self._frame(batch)
        verdict = _Verdict(len(batch))
        verdict.judge_all(self._checks, frame)
        watermark = self._advance(batch, verdict.good)
        if self._late.checks:
            verdict.judge_all(self._late, frame.with_columns(pl.Series(WATERMARK, watermark)))
        if self._unique is not None:
            passed = batch.origin.passed
            # A copy has the id of the event that it is a copy of, and that was the first to have it.
            asked = verdict.good if passed is None else verdict.good & ~passed
            verdict.judge(self._unique, Outcome(~self._duplicates(batch, asked), {}))
        rejections = tuple(
            self._reject(batch, row, *verdict.failed(row)) for row in np.flatnonzero(~verdict.good).tolist()
        )
        for flag in self.flags:
            marks = verdict.flagged.get(flag.name, np.zeros(len(batch), dtype=bool))
            batch = batch.with_table(batch.table.append_column(flag, pa.array(marks)))
        accepted = batch.take(np.flatnonzero(verdict.good))
        if self._private:
            accepted = accepted.with_table(self._private.hide(accepted.table, self._digest))
        return Processed(accepted, rejections, verdict.warnings)

    def _frame(self, batch: Batch) -> pl.DataFrame:
        """What the checks read."""
        frame = to_polars(batch.table.select(self._columns))
        if RECORD_TIME in self._read:
            frame = frame.with_columns(pl.Series(RECORD_TIME, _record_times(batch.origin)))
        return frame.with_columns(self._event_time) if EVENT_TIME in self._read else frame

    def _clipped_time(self) -> pl.Expr:
        """Microseconds since the epoch; what no calendar holds is clipped here, and rejected by a check."""
        kind = self._contract.arrow.field(self._time).type
        low, high = calendar_range(kind)
        time = pl.col(self._time).to_physical().clip(low, high)
        return time // 1_000 if kind.unit == "ns" else time * _MICROS[kind.unit]

    def _event_times(self, batch: Batch) -> NDArray[np.int64]:
        """The same as an array, with the earliest of all numbers for null."""
        column = batch.table[self._time]
        low, high = calendar_range(column.type)
        time = np.clip(column.to_numpy(zero_copy_only=False).view(np.int64), low, high)
        micros: NDArray[np.int64] = time // 1_000 if column.type.unit == "ns" else time * _MICROS[column.type.unit]
        if column.null_count:
            micros[column.is_null().to_numpy()] = _NEVER
        return micros

    def _advance(self, batch: Batch, good: NDArray[np.bool_]) -> NDArray[np.int64]:
        """The watermark that each row met, and move it by the good rows."""
        event_times = self._event_times(batch)
        times = np.where(good, event_times, _NEVER)
        met = np.empty(len(batch), dtype=np.int64)
        for partition, rows in batch.partitions():
            start = self._watermarks.get(partition, _NEVER)
            after = np.maximum.accumulate(np.concatenate([[start], times[rows]]))
            # Before a partition's first good event nothing is late: each row then meets its own time.
            met[rows] = np.where(after[:-1] == _NEVER, event_times[rows], after[:-1])
            self._watermarks[partition] = int(after[-1])
        return met

    def _duplicates(self, batch: Batch, asked: NDArray[np.bool_]) -> NDArray[np.bool_]:
        duplicate = np.zeros(len(batch), dtype=bool)
        ids = pc.cast(batch.table[self._id], pa.string()).combine_chunks()
        times = _record_times(batch.origin)
        for partition, rows in batch.partitions():
            chosen = np.flatnonzero(asked[rows]) + rows.start
            duplicate[chosen] = self._ids(partition).check(ids.take(pa.array(chosen)), times[chosen])
        return duplicate

    def _reject(self, batch: Batch, row: int, given: Check, raised: str | None) -> Rejection:
        fields = given.fields or tuple(dict.fromkeys([self._id, self._time]))
        message = describe_failure(batch.table, row, given, fields, raised, self._private.names)
        if not given.fields:
            message += f" in a record sent at {np.datetime64(int(batch.origin.timestamp[row]), 'ms')}Z"
        return Rejection(row, given.reason, message)

    def _ids(self, partition: int) -> SeenIds:
        assert self._unique is not None
        if partition not in self._seen:
            self._seen[partition] = SeenIds(self._unique.within)
        return self._seen[partition]

    def stores(self, partition: int) -> Mapping[str, Store]:
        """The remembered ids, if the pipeline asks for unique ones."""
        if self._unique is None:
            return {}
        return {f"seen-ids-{self._unique.within}": self._ids(partition)}

    def clock(self, partition: int) -> dict[str, int]:
        """The watermark, and the stream time of the remembered ids."""
        marks = {"watermark": self._watermarks.get(partition, _NEVER)}
        if self._unique is not None:
            marks["stream_time"] = self._ids(partition).stream_time
        return marks

    def restore_clock(self, partition: int, clock: Mapping[str, int]) -> None:
        """Put back what `clock` gave."""
        self._watermarks[partition] = clock.get("watermark", _NEVER)
        if self._unique is not None:
            self._ids(partition).stream_time = clock.get("stream_time", _NEVER)

    def drop(self, partition: int) -> None:
        """Forget the partition's watermark and ids."""
        self._watermarks.pop(partition, None)
        self._seen.pop(partition, None)


class _Verdict:
    """What the checks, judged one after the other, have decided so far."""

    def __init__(self, rows: int) -> None:
        self.good = np.ones(rows, dtype=bool)
        self.warnings: dict[str, int] = {}
        self.flagged: dict[str, NDArray[np.bool_]] = {}
        self._failed: dict[int, tuple[Check, str | None]] = {}

    def judge_all(self, evaluation: Evaluation, frame: pl.DataFrame) -> None:
        for given, outcome in zip(evaluation.checks, evaluation.outcomes(frame), strict=True):
            self.judge(given, outcome)

    def judge(self, given: Check, outcome: Outcome) -> None:
        fails = ~outcome.ok & self.good
        if not fails.any():
            return
        if given.on_failure != "reject":
            self.warnings[given.name] = self.warnings.get(given.name, 0) + int(fails.sum())
            if given.on_failure == "flag":
                self.flagged[given.flag] = self.flagged.get(given.flag, False) | fails
            return
        self._failed |= {int(row): (given, outcome.raised.get(int(row))) for row in np.flatnonzero(fails)}
        self.good &= outcome.ok

    def failed(self, row: int) -> tuple[Check, str | None]:
        """The check that rejected the row, and why it could not be computed, if it could not."""
        return self._failed[row]


def _flags(checks: Sequence[Check], taken: Sequence[str]) -> list[pa.Field]:
    """The columns of those checks that flag; two may share one, as `between` twice on a field."""
    flags = dict.fromkeys(given.flag for given in checks if given.on_failure == "flag")
    for name in flags:
        if name in taken:
            raise DeclarationError(
                f"a check marks events in a field {name!r}, which the event has itself; rename that, or let the check"
                " only warn"
            )
    return [pa.field(name, pa.bool_(), nullable=False) for name in flags]


def _record_times(origin: Origin) -> NDArray[np.int64]:
    """The records' own timestamps in microseconds; what no calendar holds is clipped, so that nothing overflows."""
    return np.clip(origin.timestamp, _EARLIEST // 1_000, _LATEST // 1_000) * 1_000


def _nan_to_null(table: pa.Table, contract: Contract) -> pa.Table:
    for i, field in enumerate(contract.arrow):
        if field.nullable and pa.types.is_floating(field.type):
            column = table[field.name]
            table = table.set_column(i, field, pc.if_else(pc.is_finite(column), column, None))
    return table


def _no_origin() -> Origin:
    none = np.empty(0, dtype=np.int64)
    return Origin(none.astype(np.int32), none, none, none)
