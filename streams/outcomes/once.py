"""Rows that came twice to an internal topic: a writer that delivers at least once may repeat what it wrote."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from tidemill.processors.outcomes.early import OFFSET, PARTITION
from tidemill.processors.outcomes.predictions import SOURCE_OFFSET, SOURCE_PARTITION
from tidemill.processors.outcomes.stage import Outcomes
from tidemill.processors.stage import Store
from tidemill.streams.hops.block import ints, select

_NEXT = "next"


class Once:
    """The outcomes stage as a partition's state keeps it, with how far its sources were read.

    Of each source, events or labels by partition, rows come in the order of their offsets: what lies below what was
    seen has been taken in before.
    """

    def __init__(self, stage: Outcomes) -> None:
        self.name, self._stage = stage.name, stage
        self._next: dict[int, dict[str, int]] = {}

    def new_rows(self, partition: int, rows: pa.Table, *, is_label: bool) -> pa.Table:
        """Those that were not taken in before; they count as taken in now."""
        names = (PARTITION, OFFSET) if is_label else (SOURCE_PARTITION, SOURCE_OFFSET)
        source, offset = (ints(rows, name) for name in names)
        new = np.ones(len(rows), bool)
        reached = self._next.setdefault(partition, {})
        for p in np.unique(source).tolist():
            key = f"{_NEXT}.{'labels' if is_label else 'events'}.{p}"
            here = source == p
            new &= ~here | (offset >= reached.get(key, 0))
            reached[key] = max(reached.get(key, 0), int(offset[here].max()) + 1)
        return select(rows, new)

    def stores(self, partition: int) -> Mapping[str, Store]:
        """The stage's."""
        return self._stage.stores(partition)

    def clock(self, partition: int) -> dict[str, int]:
        """The stage's, and the next offset of each source."""
        return self._stage.clock(partition) | self._next.get(partition, {})

    def restore_clock(self, partition: int, clock: Mapping[str, int]) -> None:
        """Put back what `clock` gave."""
        self._next[partition] = {name: n for name, n in clock.items() if name.startswith(f"{_NEXT}.")}
        self._stage.restore_clock(partition, clock)

    def drop(self, partition: int) -> None:
        """Forget the partition."""
        self._next.pop(partition, None)
        self._stage.drop(partition)
