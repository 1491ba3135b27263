"""What a task adds to the profiles of rejected events: how many of a window, by stage and reason."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.drift.profile import Profile, Scope, profile_of
from tidemill.processors.feature_enrichment.hops import EVENT_TIME as CARRIED_TIME
from tidemill.schemas.batch import Batch
from tidemill.streams.plan import STAGES, Plan
from tidemill.streams.ports import Output
from tidemill.streams.profile_log import PROFILES, profile_messages
from tidemill.streams.rejections import RejectedRow

COLUMNS = ("stage", "reason")
_PLACE = ("source_partition", "source_offset")
_SCHEMA = pa.schema([*((name, pa.string()) for name in COLUMNS), *((name, pa.int64()) for name in _PLACE)])
_NEVER = int(np.iinfo(np.int64).min)
_NONE: NDArray[np.int64] = np.zeros(0, np.int64)


class RejectionProfiles:
    """Counts a task's rejections by window of event time.

    A rejected event may have no time, or a made-up one. So it counts in the window that its partition had reached: the
    greatest time of the events up to it that passed the sanity check, of none later than its record's; before the first
    of these it is its record's own. The first task also tells of each window that it reaches, so that one without
    rejections is known to be one.
    """

    def __init__(self, plan: Plan, stages: Sequence[str], window: int) -> None:
        """Windows are of so many microseconds."""
        self._pipeline, self._topic, self._window = plan.name, plan.topic(PROFILES), window
        self._times = (plan.event_time, "event_time", CARRIED_TIME)
        self._tells = stages[0] == STAGES[0]
        self._reached: dict[int, int] = {}

    def drop(self, partition: int) -> None:
        """Forget how far a partition has come."""
        self._reached.pop(partition, None)

    def output(self, batch: Batch, rejected: Sequence[RejectedRow]) -> list[Output]:
        """The messages for a batch that was read, and for what was rejected of it; one at most for each partition."""
        made: list[Output] = []
        by_partition: dict[int, list[RejectedRow]] = {p: [] for p, _ in batch.partitions()}
        for row in rejected:
            by_partition.setdefault(row.partition, []).append(row)
        reached = self._see(batch, by_partition)
        for partition, rows in sorted(by_partition.items()):
            offsets, times = reached.get(partition, (_NONE, _NONE))
            profiles = self._profiles(partition, rows, offsets, times)
            if len(times):
                self._reached[partition] = int(times[-1])
            if profiles:
                keys, values, headers = profile_messages(profiles, partition, {})
                zeros = np.zeros(len(keys), np.int64)
                made.append(Output(self._topic, zeros.astype(np.int32), zeros, keys, values, headers))
        return made

    def _see(
        self, batch: Batch, rejected: Mapping[int, Sequence[RejectedRow]]
    ) -> dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """By partition the offsets of the rows, and how far in event time it had come with each."""
        if not len(batch):
            return {}
        column = batch.table[next(name for name in self._times if name in batch.table.column_names)]
        times = pc.fill_null(column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()), _NEVER).to_numpy()
        times = np.minimum(times, batch.origin.timestamp * 1_000)
        found = {}
        for partition, rows in batch.partitions():
            offsets = batch.origin.offset[rows]
            failed = [row.offset for row in rejected[partition] if row.stage == STAGES[0]]
            seen = np.where(np.isin(offsets, failed), _NEVER, times[rows]) if failed else times[rows]
            before = self._reached.get(partition, _NEVER)
            found[partition] = offsets, np.maximum(np.maximum.accumulate(seen), before)
        return found

    def _profiles(
        self, partition: int, rows: Sequence[RejectedRow], offsets: NDArray[np.int64], times: NDArray[np.int64]
    ) -> list[Profile]:
        before = self._reached.get(partition, _NEVER)
        places = np.searchsorted(offsets, [row.offset for row in rows], side="right")
        by_window: dict[int, list[RejectedRow]] = {}
        for row, place in zip(rows, places.tolist(), strict=True):
            reached = int(times[place - 1]) if place else before
            time = row.timestamp * 1_000 if reached == _NEVER else reached
            by_window.setdefault(time // self._window, []).append(row)
        if self._tells:
            for number in np.unique(times[times != _NEVER] // self._window).tolist():
                if number > before // self._window:
                    by_window.setdefault(number, [])
        return [self._profile(number, some) for number, some in by_window.items()]

    def _profile(self, number: int, rows: Sequence[RejectedRow]) -> Profile:
        table = pa.Table.from_pylist(
            [dict(zip(_SCHEMA.names, (row.stage, row.reason, row.partition, row.offset), strict=True)) for row in rows],
            schema=_SCHEMA,
        )
        scope = Scope(self._pipeline, number * self._window // 1_000, (number + 1) * self._window // 1_000)
        return profile_of(table, "rejections", COLUMNS, scope)
