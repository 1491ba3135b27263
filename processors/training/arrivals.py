"""Outcomes of several partitions in one order, which the log alone decides.

A row's place is (the greatest label time of its partition since the last version, partition, offset). Within a
partition that is the order of the log, so that what was learned of each is a range of offsets. A row is given out once
no partition can bring one that belongs before it: each has a later row, or has been quiet for so long that it is not
waited for.
"""

from collections.abc import Collection

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

KNOWN, PARTITION, OFFSET = "@known", "@partition", "@offset"
"""Columns of what is given out: when the row was known in its partition, in microseconds, and where it stands."""


class Arrivals:
    """Rows that have been read and not yet learned."""

    def __init__(self, partitions: Collection[int], time: str = "label_time") -> None:
        """`time` names the column that says when a row became known."""
        self._time = time
        self._waiting: dict[int, list[pa.Table]] = {partition: [] for partition in sorted(partitions)}
        self._clock: dict[int, int] = {}

    def add(self, partition: int, rows: pa.Table, offsets: NDArray[np.int64]) -> None:
        """Rows of a partition, in log order."""
        if len(rows):
            places = pa.array(np.full(len(rows), partition)), pa.array(offsets)
            rows = rows.append_column(PARTITION, places[0]).append_column(OFFSET, places[1])
            self._waiting[partition].append(rows)

    def waiting(self, partition: int) -> int:
        """How many rows of a partition wait."""
        return sum(map(len, self._waiting[partition]))

    def ready(self, quiet: Collection[int]) -> pa.Table | None:
        """All rows that are known to be next, in order; they stay until `drop`. None if there are none.

        Partitions that are `quiet` are not waited for.
        """
        tables: list[pa.Table] = []
        last: list[tuple[int, int]] = []
        for partition, parts in self._waiting.items():
            if parts:
                rows = pa.concat_tables(parts)
                self._waiting[partition] = [rows]
                times = rows[self._time].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
                known = np.maximum(np.maximum.accumulate(times), self._clock.get(partition, times[0]))
                tables.append(rows.append_column(KNOWN, pa.array(known)))
                if partition not in quiet:
                    last.append((int(known[-1]), partition))
            elif partition not in quiet:
                return None
        if not tables:
            return None
        every = pa.concat_tables(tables)
        known, partitions = every[KNOWN].to_numpy(), every[PARTITION].to_numpy()
        # Tables stand by partition and offset, and the sort keeps that among equals.
        order = np.argsort(known, kind="stable")
        if last:
            until, of = min(last)
            order = order[(known[order] < until) | ((known[order] == until) & (partitions[order] <= of))]
        return every.take(pa.array(order)) if len(order) else None

    def drop(self, rows: pa.Table) -> None:
        """Rows that `ready` began with have been learned."""
        partitions, known = rows[PARTITION].to_numpy(), rows[KNOWN].to_numpy()
        for partition in np.unique(partitions).tolist():
            (waiting,) = self._waiting[partition]
            own = partitions == partition
            left = waiting.slice(int(own.sum()))
            self._waiting[partition] = [left] if len(left) else []
            self._clock[partition] = int(known[own].max())

    def restart(self) -> None:
        """Forget the label times so far: a version was published, from which a learner that starts again goes on."""
        self._clock.clear()
