"""Refusing expressions that mix rows: their features would depend on how the log was cut into batches."""

from collections.abc import Sequence

import polars as pl
import pyarrow as pa

from tidemill.processors.feature_enrichment.columns import to_frame
from tidemill.processors.feature_enrichment.isolation import FAILURES, isolate
from tidemill.processors.feature_enrichment.sample_rows import sample_rows
from tidemill.schemas.errors import DeclarationError

_ROWS = 61
_LARGE = 20_000
_sound: set[tuple[bytes, pa.Schema]] = set()
"""What was found to be row-wise: stages are made several times in a process, and a trial takes tens of milliseconds."""


def require_rowwise(name: str, expression: pl.Expr, schema: pa.Schema) -> None:
    """Try the expression on made-up rows of `schema`: one by one, together, backwards, and in large batches.

    The results must be equal, and the same rows must raise. This is evidence, not proof: it finds what shows on such
    rows. Raises DeclarationError, also if the expression raises on every row.
    """
    tried = expression.meta.serialize(), schema
    if tried in _sound:
        return
    sample = to_frame(sample_rows(schema, _ROWS))
    alone: dict[int, pl.DataFrame] = {}
    raised = ""
    for row in range(_ROWS):
        try:
            alone[row] = sample[row : row + 1].select(expression.alias(name))
        except FAILURES as error:
            raised = str(error).partition("\n")[0]
    if not alone:
        raise DeclarationError(
            f"feature {name!r} raises on every row that it was tried on: {raised}; make it answer null instead, "
            f"as with strict=False"
        )
    if any(made.height != 1 for made in alone.values()) or not _agree(name, expression, sample, alone):
        raise DeclarationError(
            f"feature {name!r} mixes rows: what it is for a row depends on the others in the batch; expected an "
            f"expression of the row's own fields, without mean(), shift(), rank(), over() and the like; for what "
            f"spans events use window()"
        )
    _sound.add(tried)


def _agree(name: str, expression: pl.Expr, sample: pl.DataFrame, alone: dict[int, pl.DataFrame]) -> bool:
    """Whether rows come out in company as they do alone."""

    def compute(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(expression.alias(name)).select(name)

    def expected(rows: Sequence[int]) -> pl.DataFrame:
        places = {row: i for i, row in enumerate(alone)}
        return pl.concat(alone.values())[[places[row] for row in rows if row in alone]]

    # Some operations answer null throughout as soon as they meet one, which hides what they look at.
    complete = sample.with_row_index("").drop_nulls()[""].to_list()
    for rows in (list(alone), [row for row in complete if row in alone]):
        batch = _shuffled(rows)
        try:
            if not compute(sample[batch]).equals(expected(batch)):
                return False
        except FAILURES:
            return False
    for order in (range(sample.height), range(sample.height)[::-1]):
        computed, failed = isolate(compute, sample[list(order)])
        if {order[i] for i in failed} != set(order) - set(alone) or not computed.equals(expected(order)):
            return False
    return True


def _shuffled(rows: Sequence[int]) -> list[int]:
    """The rows many times over, with other neighbours each time: so a look back shows, however far it goes."""
    count = len(rows)
    return [rows[(i * 7919 + i // count * (i // count)) % count] for i in range(_LARGE if count else 0)]
