"""The rows of P.shadow-predictions: answers that subscribers did not get."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tidemill.processors.online_inference.answers import Answers
from tidemill.processors.online_inference.target import Target
from tidemill.schemas.batch import Batch

SHADOW_PREDICTIONS = "shadow-predictions"
"""Where they go, by suffix."""


@dataclass(frozen=True)
class Part:
    """Some of a model's answers: those to these rows of the batch."""

    role: str
    stage: int
    answers: Answers
    rows: NDArray[np.int64]


def beside_fields(system: Sequence[pa.Field], target: Target) -> list[pa.Field]:
    """The columns, after those that say which event it is."""
    return [
        *system,
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("stage", pa.int64(), nullable=False),
        pa.field("value", target.value_type()),
        *(pa.field(name, pa.float64()) for name in target.columns()),
        pa.field("failure", pa.string()),
    ]


def beside(batch: Batch, schema: pa.Schema, target: Target, parts: Sequence[Part]) -> Batch:
    """All parts, by event and then in the order given: however the log was cut, the same rows in the same order."""
    tables = [_part(batch.table, schema, target, part) for part in parts]
    rows = np.concatenate([np.empty(0, np.int64), *(part.rows for part in parts)])
    table = pa.concat_tables([schema.empty_table(), *tables])
    if (np.diff(rows) < 0).any():
        order = np.argsort(rows, kind="stable")
        table, rows = table.take(pa.array(order)), rows[order]
    return Batch(table, batch.origin.take(rows))


def _part(table: pa.Table, schema: pa.Schema, target: Target, part: Part) -> pa.Table:
    answers, rows = part.answers, part.rows
    count = len(rows)
    said = target.answers(answers.scores[rows])
    told: pa.Array = pa.nulls(count, pa.string())
    if answers.failures:
        good = pa.array(answers.good[rows])
        said = {name: pc.if_else(good, column, pa.scalar(None, column.type)) for name, column in said.items()}
        why = answers.failures
        told = pa.array([": ".join(why[row]) if row in why else None for row in rows.tolist()], pa.string())
    made = {
        "model_version": pa.repeat(pa.scalar(answers.version, pa.string()), count),
        "role": pa.repeat(pa.scalar(part.role, pa.string()), count),
        "stage": pa.repeat(pa.scalar(part.stage, pa.int64()), count),
        "failure": told,
        **said,
    }
    here = table.select([f.name for f in schema if f.name not in made])
    taken = here if count == len(table) else here.take(pa.array(rows))
    columns = [made[f.name] if f.name in made else taken[f.name] for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)
