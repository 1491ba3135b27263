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
    order = np.argsort(rows, kind="stable")
    table = pa.concat_tables([schema.empty_table(), *tables]).take(pa.array(order))
    return Batch(table, batch.origin.take(rows[order]))


def _part(table: pa.Table, schema: pa.Schema, target: Target, part: Part) -> pa.Table:
    answers, rows = part.answers, part.rows
    good = pa.array(answers.good[rows])
    count = len(rows)
    said = target.answers(answers.scores[rows])
    told = [": ".join(answers.failures[row]) if row in answers.failures else None for row in rows.tolist()]
    made = {
        "model_version": pa.repeat(pa.scalar(answers.version, pa.string()), count),
        "role": pa.repeat(pa.scalar(part.role, pa.string()), count),
        "stage": pa.repeat(pa.scalar(part.stage, pa.int64()), count),
        "failure": pa.array(told, pa.string()),
        **{name: pc.if_else(good, column, pa.scalar(None, column.type)) for name, column in said.items()},
    }
    taken = pa.array(rows)
    columns = [made[f.name] if f.name in made else table[f.name].take(taken) for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)
