"""The reference of a fitted model: profiles of what it was trained on, and of how it did on later rows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.drift import Profile, Scope, profile_of, profile_of_outcomes, profile_of_predictions
from tidemill.processors.drift.slices import slice_name, slices_of
from tidemill.processors.online_inference.target import Target


def profiles_of_training(
    pipeline: str,
    features: Sequence[str],
    target: Target,
    train: pa.Table,
    test: pa.Table,
    scores: NDArray[np.float64] | None,
    slices: Sequence[str] = (),
) -> tuple[Profile, ...]:
    """Features of the rows trained on; predictions and outcomes of the rows tested on, which have these scores.

    Both tables have the column `label`. They are made for all rows, and for each value of the fields `slices`.
    """
    made = [
        profile_of(rows, "features", features, scope) for scope, rows in _cut(_scope(pipeline, train), train, slices)
    ]
    if scores is None or not test.num_rows:
        return tuple(made)
    tested = test
    for name, column in target.answers(scores).items():
        if name in tested.column_names:
            tested = tested.drop_columns([name])
        tested = tested.append_column(name, column)
    for scope, rows in _cut(_scope(pipeline, test), tested, slices):
        made += [profile_of_predictions(rows, target, scope), profile_of_outcomes(rows, target, scope)]
    return tuple(made)


def _cut(scope: Scope, table: pa.Table, slices: Sequence[str]) -> list[tuple[Scope, pa.Table]]:
    cut = [(slice_name(field, value), rows) for field in slices for value, rows in slices_of(table, field)]
    return [(scope, table), *((replace(scope, slice=name), rows) for name, rows in cut)]


def _scope(pipeline: str, table: pa.Table) -> Scope:
    """From the first event time to just after the last one, if events have one."""
    if "event_time" not in table.column_names or table["event_time"].null_count == table.num_rows:
        return Scope(pipeline, 0, 0)
    bounds = pc.min_max(pc.cast(table["event_time"], pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64()))
    return Scope(pipeline, bounds["min"].as_py(), bounds["max"].as_py() + 1)
