"""Probing a candidate: rows that it may meet one day, and rows in other company."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.random import Generator

from tidemill.processors.frames import to_model_frame, to_model_matrix
from tidemill.processors.online_inference.scorer import BLOCK, Scorer, Scores

UNSEEN = "\u2047 unseen by any model"
REACH = 10.0
_ALONE = 48
_MOST_EXTREMES = 512


@dataclass(frozen=True)
class Probes:
    """How many rows were scored and failed, and how many scores were compared and differ; as in `Trial`."""

    scored: int
    failed: int
    extremes: int
    extremes_failed: int
    complaint: str
    compared: int
    differing: int


def probe(scorer: Scorer, features: Sequence[str], rows: pa.Table, rng: Generator) -> Probes:
    """Score all rows as a worker does, then some of them in other company, then rows with extremes.

    `rows` has the features as served.
    """
    names = list(features)
    scores, failures = score(scorer, names, rows)
    compared, differing = _invariance(scorer, names, rows, scores, rng)
    strange = extremes(rows.select(names), rng)
    _, stumbled = score(scorer, names, strange)
    said = [failure.message for failure in (*failures, *stumbled)]
    return Probes(
        rows.num_rows,
        len(failures),
        strange.num_rows,
        len(stumbled),
        said[0] if said else "",
        compared,
        differing,
    )


def score(scorer: Scorer, features: list[str], rows: pa.Table) -> tuple[Scores, list[Any]]:
    """Score rows in the form in which the inference stage shows them to this model."""
    matrix = to_model_matrix(rows, features) if scorer.takes_matrix(features) else None
    return scorer.score(to_model_frame(rows, features) if matrix is None else matrix)


def _invariance(scorer: Scorer, features: list[str], rows: pa.Table, scores: Scores, rng: Generator) -> tuple[int, int]:
    """Compare scores bit for bit: some rows one at a time, all in another order, all in batches of another size."""
    if not rows.num_rows:
        return 0, 0
    compared = differing = 0

    def compare(places: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        nonlocal compared, differing
        again, _ = score(scorer, features, rows.take(pa.array(places)))
        same = (scores[places].view(np.int64) == again.view(np.int64)) | (np.isnan(again) & np.isnan(scores[places]))
        compared += len(places)
        differing += int((~same.all(axis=1)).sum())

    alone = rng.permutation(rows.num_rows)[:_ALONE]
    for place in alone:
        compare(np.array([place]))
    compare(rng.permutation(rows.num_rows))
    size = BLOCK // 3 + 1
    for start in range(0, rows.num_rows, size):
        compare(np.arange(start, min(start + size, rows.num_rows)))
    return compared, differing


def extremes(rows: pa.Table, rng: Generator) -> pa.Table:
    """Rows that have been served, with cells replaced: feature by feature, and some with several at once.

    A feature becomes null only where rows have nulls already: contracts and checks keep them out elsewhere. Text
    becomes empty and what nobody has seen. Numbers become ten times the outermost that was seen on either side, but
    keep the sign if all have the same: a distance is never negative. Infinities and NaN are not among them: they are
    rejected, or null, before a model is asked.
    """
    if not rows.num_rows:
        return rows
    made = []
    for name in rows.column_names:
        for value in _strange(rows[name]):
            taken = rows.take(pa.array(rng.integers(0, rows.num_rows, 4)))
            made.append(_with(taken, name, value))
    many = rows.take(pa.array(rng.integers(0, rows.num_rows, min(_MOST_EXTREMES, 8 * rows.num_columns))))
    for name in rows.column_names:
        choices = [None, *_strange(rows[name])]
        cells = many[name].to_pylist()
        for place, choice in enumerate(rng.integers(0, len(choices), many.num_rows)):
            if choice:
                cells[place] = choices[choice][0]
        many = _with_cells(many, name, cells)
    return pa.concat_tables([*made, many])


def _strange(column: pa.ChunkedArray) -> list[tuple[Any]]:
    """Values of a column that a model may meet, each in a tuple, since null is one of them."""
    kind, found = column.type, [(None,)] if column.null_count else []
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [*found, ("",), (UNSEEN,)]
    if pa.types.is_boolean(kind):
        return [*found, (False,), (True,)]
    numbers = np.asarray(column.drop_null().cast(pa.float64(), safe=False))
    numbers = numbers[np.isfinite(numbers)]
    low, high = (float(numbers.min()), float(numbers.max())) if len(numbers) else (0.0, 0.0)
    outer = (_beyond(low, -REACH), _beyond(high, REACH))
    if pa.types.is_integer(kind):
        signed = pa.types.is_signed_integer(kind)
        least, most = (
            (-(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1) if signed else (0, 2**kind.bit_width - 1)
        )
        return [*found, *((min(most, max(least, int(value))),) for value in outer)]
    return [*found, *((value,) for value in outer)]


def _beyond(bound: float, reach: float) -> float:
    """Further out than what was seen; towards zero, but not through it, for what has always had one sign."""
    outwards = bound * reach > 0
    return bound * abs(reach) if outwards else bound / abs(reach)


def _with(rows: pa.Table, name: str, value: tuple[Any]) -> pa.Table:
    return _with_cells(rows, name, [value[0]] * rows.num_rows)


def _with_cells(rows: pa.Table, name: str, cells: list[Any]) -> pa.Table:
    kind = rows.schema.field(name).type
    return rows.set_column(rows.column_names.index(name), name, pa.chunked_array([pa.array(cells, kind)]))
