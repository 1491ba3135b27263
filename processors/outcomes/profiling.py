"""What the rows of a batch add to the profiles of their windows: of features, predictions and outcomes, by slice."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.drift.profile import (
    OutcomeBlock,
    Profile,
    Scope,
    profile_of,
    profile_of_outcomes,
    profile_of_predictions,
)
from tidemill.processors.drift.quality import class_places
from tidemill.processors.drift.slices import slice_name, slices_of
from tidemill.processors.online_inference.target import Target
from tidemill.processors.outcomes.answers import LABEL
from tidemill.processors.outcomes.early import LABEL_TIME
from tidemill.processors.outcomes.predictions import EVENT_TIME, SOURCE_OFFSET, SOURCE_PARTITION

MOST_BLOCKS = 64
"""How many blocks the outcomes of one delta make at most, for detectors that read sequences."""
_LEAST_PROBABILITY = 1e-15
_VERSION = "model_version"


@dataclass(frozen=True)
class ProfileWindows:
    """Windows of so many microseconds of event time, counted from 1970, and the fields whose values are looked at."""

    window: int
    slices: tuple[str, ...] = ()


class Profiler:
    """Makes profiles of rows with the model's features, the prediction fields, the event's time and place.

    Profiles and slices have features by their own names, whatever their columns are called here.

    An event counts in the window of its own time, its outcome as well. Of an event's labels the first one counts: what
    has been added cannot be taken back.
    """

    def __init__(
        self,
        pipeline: str,
        windows: ProfileWindows,
        features: Sequence[str],
        columns: Mapping[str, str],
        target: Target,
    ) -> None:
        """`columns` tells the column of each feature, of those by which slices are cut as well."""
        self._pipeline, self._windows, self._columns = pipeline, windows, columns
        self._features, self._target = list(features), target

    def of_predictions(self, rows: pa.Table) -> list[Profile]:
        """By window and slice the features, and by model version the predictions; times are in microseconds."""
        made = []
        for scope, here in self._scopes(rows):
            versions = ",".join(sorted(pc.unique(here[_VERSION]).to_pylist()))
            whole = Scope(self._pipeline, *scope, versions)
            shown = [*(self._columns[name] for name in self._features), SOURCE_PARTITION, SOURCE_OFFSET]
            named = here.select(shown).rename_columns([*self._features, SOURCE_PARTITION, SOURCE_OFFSET])
            made.append(profile_of(named, "features", self._features, whole))
            made += [
                profile_of_predictions(mine, self._target, Scope(self._pipeline, *scope, version))
                for version, mine in _by_version(here)
            ]
        return made

    def of_outcomes(self, rows: pa.Table) -> list[Profile]:
        """By window, slice and model version, for rows that have a `label` and its time as well."""
        made = []
        for scope, here in self._scopes(rows):
            for version, mine in _by_version(here):
                sequence = self._sequence(mine)
                made.append(profile_of_outcomes(mine, self._target, Scope(self._pipeline, *scope, version), sequence))
        return made

    def _scopes(self, rows: pa.Table) -> Iterator[tuple[tuple[int, int, str], pa.Table]]:
        window = self._windows.window
        numbers = rows[EVENT_TIME].to_numpy() // window
        for number in np.unique(numbers).tolist():
            here = _chosen(rows, numbers == number)
            span = number * window // 1_000, (number + 1) * window // 1_000
            yield (*span, ""), here
            for field in self._windows.slices:
                for value, mine in slices_of(here, self._columns[field]):
                    yield (*span, slice_name(field, value)), mine

    def _sequence(self, rows: pa.Table) -> tuple[OutcomeBlock, ...]:
        """The outcomes in the order of their labels, in blocks; losses are log-losses, or absolute errors."""
        times, partitions, offsets = (rows[name].to_numpy() for name in (LABEL_TIME, SOURCE_PARTITION, SOURCE_OFFSET))
        order = np.lexsort((offsets, partitions, times))
        errors, losses = self._judged(rows)
        blocks = np.array_split(order, min(MOST_BLOCKS, len(order)))
        return tuple(
            OutcomeBlock(int(times[b[-1]]) // 1_000, len(b), int(errors[b].sum()), float(losses[b].sum()))
            for b in blocks
            if len(b)
        )

    def _judged(self, rows: pa.Table) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
        if not self._target.classes:
            distances = np.abs(rows["value"].to_numpy() - rows[LABEL].to_numpy())
            return np.zeros(len(rows), bool), distances
        scores = np.column_stack([rows[name].to_numpy() for name in self._target.columns()])
        actual = class_places(self._target.classes, rows[LABEL])
        given = scores[np.arange(len(rows)), actual]
        return scores.argmax(axis=1) != actual, -np.log(np.maximum(given, _LEAST_PROBABILITY))


def _by_version(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    for version in sorted(pc.unique(rows[_VERSION]).to_pylist()):
        yield version, _chosen(rows, pc.equal(rows[_VERSION], version).to_numpy())


def _chosen(rows: pa.Table, which: NDArray[np.bool_]) -> pa.Table:
    return rows if which.all() else rows.filter(pa.array(which))
