"""Rows on their way to P.scored: in blocks, to the partition of their event's id.

Predictions stand where their events' keys are and labels where their producers put them; what belongs together meets by
the id. A commit writes one block for each partition that it has rows for.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.feature_enrichment.enrichment import sent_micros
from tidemill.processors.outcomes.predictions import EVENT_ID, EVENT_TIME, SENT
from tidemill.processors.outcomes.stage import Outcomes
from tidemill.schemas.batch import Batch, Processed
from tidemill.streams.hops.block import Block, Mark
from tidemill.streams.murmur2_kernel import partitions_of
from tidemill.streams.ports import Output

NEVER = int(np.iinfo(np.int64).min)
_NO_TIME: NDArray[np.int64] = np.zeros(0, np.int64)


class ScoredPredictions:
    """Makes the blocks of predictions, with the features that they were made of.

    Each block says how far in event time its partition of events has come. Partitions of ids without a row are told as
    well when that has moved a 64th of the horizon: labels there may be waiting for nobody.
    """

    def __init__(self, topic: str, outcomes: Outcomes, source: str, partitions: int) -> None:
        self._topic, self._outcomes, self._source, self._partitions = topic, outcomes, source, partitions
        self._clocks: dict[int, int] = {}
        self._told: dict[int, int] = {}

    def drop(self, partition: int) -> None:
        """Forget how far a partition of events has come."""
        self._clocks.pop(partition, None)
        self._told.pop(partition, None)

    def output(self, given: Batch, processed: Processed) -> Output:
        """The messages for a batch of features and what became of it."""
        accepted = processed.accepted
        features = given.table
        if len(accepted) < len(given):
            good = np.ones(len(given), bool)
            good[[rejection.row for rejection in processed.rejected]] = False
            features = features.take(pa.array(np.flatnonzero(good)))
        table = self._rows(features, accepted)
        marks, tell = self._marks(accepted, table[EVENT_TIME if self._outcomes.timed else SENT].to_numpy())
        return by_id(self._topic, table, self._source, self._partitions, marks, everyone=tell)

    def _rows(self, features: pa.Table, accepted: Batch) -> pa.Table:
        named = {self._outcomes.name_of(name): name for name in features.column_names if self._outcomes.carries(name)}
        columns = []
        for field in self._outcomes.scored:
            if field.name in named:
                columns.append(features[named[field.name]].cast(field.type))
            elif field.name == SENT:
                columns.append(pa.array(sent_micros(accepted.origin)))
            elif field.name == EVENT_TIME:
                columns.append(accepted.table[EVENT_TIME].cast(pa.timestamp("us", "UTC")).cast(pa.int64()))
            else:
                columns.append(accepted.table[field.name].cast(field.type))
        return pa.table(columns, schema=self._outcomes.scored)

    def _marks(self, accepted: Batch, times: NDArray[np.int64]) -> tuple[dict[int, Mark], bool]:
        tell = False
        marks = {}
        # No event moves the clock beyond the time at which its record was sent.
        reached = np.minimum(times, sent_micros(accepted.origin))
        for partition, rows in accepted.partitions():
            clock = max(self._clocks.get(partition, NEVER), int(reached[rows].max()))
            self._clocks[partition] = clock
            if partition not in self._told or clock - self._told[partition] >= self._outcomes.told_every:
                self._told[partition], tell = clock, True
            marks[partition] = Mark(clock, int(accepted.origin.offset[rows][-1]) + 1)
        return marks, tell


def by_id(
    topic: str, table: pa.Table, source: str, partitions: int, marks: Mapping[int, Mark], *, everyone: bool
) -> Output:
    """The rows as messages for the partitions of their events' ids; `everyone` gets the marks at least."""
    targets = partitions_of(table[EVENT_ID].combine_chunks(), partitions)
    order = np.argsort(targets, kind="stable")
    sorted_rows = table.take(pa.array(order)).combine_chunks()
    bounds = np.searchsorted(targets[order], np.arange(partitions + 1)).tolist()
    places: list[int] = []
    values: list[bytes | None] = []
    for target in range(partitions):
        start, stop = bounds[target], bounds[target + 1]
        if stop > start or everyone:
            made = Block(sorted_rows.slice(start, stop - start), source, marks).encode()
            values += made
            places += [target] * len(made)
    count = len(values)
    return Output(topic, np.array(places, np.int32), np.zeros(count, np.int64), [None] * count, values)
