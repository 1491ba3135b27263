"""Refusing expressions that mix rows: their features would depend on how the log was cut into batches."""

import polars as pl
import pyarrow as pa

from tidemill.processors.feature_enrichment.columns import to_frame
from tidemill.processors.feature_enrichment.isolation import FAILURES
from tidemill.processors.feature_enrichment.sample_rows import sample_rows
from tidemill.schemas.errors import DeclarationError

_ROWS = 61
_LARGE = 20_000


def require_rowwise(name: str, expression: pl.Expr, schema: pa.Schema) -> None:
    """Try the expression on made-up rows of `schema`: one by one, together, backwards, and in a large batch.

    The results must be equal to the bit. This is evidence, not proof: it finds what shows on such rows.
    Raises DeclarationError, also if the expression raises on every row.
    """

    def compute(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.with_columns(expression.alias(name)).select(name)

    sample = to_frame(sample_rows(schema, _ROWS))
    alone: list[pl.DataFrame] = []
    good: list[int] = []
    raised = ""
    for row in range(_ROWS):
        try:
            alone.append(compute(sample[row : row + 1]))
            good.append(row)
        except FAILURES as error:
            raised = str(error).partition("\n")[0]
    if not good:
        raise DeclarationError(
            f"feature {name!r} raises on every row that it was tried on: {raised}; make it answer null instead, "
            f"as with strict=False"
        )
    expected = pl.concat(alone)
    count = len(good)
    orders = [
        list(range(count)),
        list(range(count))[::-1],
        # Neighbours differ from one repetition to the next, so that looking any number of rows back shows.
        [(i * 7919 + i // count * (i // count)) % count for i in range(_LARGE)],
    ]
    for order in orders:
        try:
            same = compute(sample[[good[i] for i in order]]).equals(expected[order])
        except FAILURES:
            same = False
        if not same:
            raise DeclarationError(
                f"feature {name!r} mixes rows: what it is for a row depends on the other rows in the batch; expected an "
                f"expression of the row's own fields, without mean(), shift(), rank(), over() and the like; for what "
                f"spans events use window()"
            )
