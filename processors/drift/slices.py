"""Slices: the rows of a table by the value of one field, such as origin=JFK."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MOST_SLICES = 50


def slice_name(field: str, value: str) -> str:
    """What the slice of the rows with this value is called."""
    return f"{field}={value}"


def slices_of(table: pa.Table, column: str, most: int = MOST_SLICES) -> Iterator[tuple[str, pa.Table]]:
    """Value and rows of a column's most frequent values, in the order of the values; rows without one are left out.

    >>> flights = pa.table({"origin": ["JFK", "EWR", "JFK", None]})
    >>> [(value, rows.num_rows) for value, rows in slices_of(flights, "origin")]
    [('EWR', 1), ('JFK', 2)]
    """
    values = pc.cast(table[column], pa.large_string()).combine_chunks()
    found = pc.value_counts(values.drop_null())
    names, counts = found.field("values").to_pylist(), found.field("counts").to_numpy()
    frequent = sorted(zip((-counts).tolist(), names, strict=True))[:most]
    for name in sorted(name for _, name in frequent):
        rows = np.flatnonzero(pc.equal(values, name).fill_null(False).to_numpy(zero_copy_only=False))
        yield name, table.take(pa.array(rows))
