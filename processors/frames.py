"""The same columns as polars and as pandas: the edges to expressions and to models."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


def to_polars(table: pa.Table) -> pl.DataFrame:
    """Show Arrow columns to polars; buffers are shared where both can use them."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame


def fits_models(kind: pa.DataType) -> bool:
    """Whether a model can be shown a feature of this type."""
    tests = (
        pa.types.is_boolean,
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_string,
        pa.types.is_large_string,
    )
    return any(test(kind) for test in tests)


def to_model_frame(table: pa.Table, features: list[str]) -> "pd.DataFrame":
    """The features as a model sees them, in training and in serving alike.

    Numbers and booleans are float64 with NaN for null, whatever the batch holds, so that a column's type never
    depends on which rows came together; integers beyond 2**53 are rounded. Text is an object column with None for null.
    """
    import pandas as pd

    return pd.DataFrame({name: _column(table[name]) for name in features})


def to_model_matrix(table: pa.Table, features: Sequence[str]) -> NDArray[np.float64] | None:
    """The same numbers without a frame around them; None if a feature is text."""
    columns = [table.column(name) for name in features]
    if any(pa.types.is_string(column.type) or pa.types.is_large_string(column.type) for column in columns):
        return None
    matrix = np.empty((table.num_rows, len(columns)))
    for place, column in enumerate(columns):
        matrix[:, place] = _column(column)
    return matrix


def _column(column: pa.ChunkedArray) -> "np.ndarray[Any, Any] | pd.Series[Any]":
    import pandas as pd

    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pd.Series(column.to_pylist(), dtype=object)
    if column.type != pa.float64():
        column = pc.cast(column, pa.float64(), safe=False)
    values: np.ndarray[Any, Any] = column.to_numpy(zero_copy_only=False)
    return values
