"""Slices: the rows of a table by the value of one field, such as origin=JFK."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

MOST_SLICES = 50


def slices_of(table: pa.Table, fields: Sequence[str], most: int = MOST_SLICES) -> Iterator[tuple[str, pa.Table]]:
    """Name and rows of each field's most frequent values, in the order of the values; rows without one are in none.

    >>> flights = pa.table({"origin": ["JFK", "EWR", "JFK", None]})
    >>> [(name, rows.num_rows) for name, rows in slices_of(flights, ["origin"])]
    [('origin=EWR', 1), ('origin=JFK', 2)]
    """
    for field in fields:
        values = pc.cast(table[field], pa.large_string()).combine_chunks()
        found = pc.value_counts(values.drop_null())
        names, counts = found.field("values").to_pylist(), found.field("counts").to_numpy()
        frequent = sorted(zip((-counts).tolist(), names, strict=True))[:most]
        for name in sorted(name for _, name in frequent):
            rows = np.flatnonzero(pc.equal(values, name).fill_null(False).to_numpy(zero_copy_only=False))
            yield f"{field}={name}", table.take(pa.array(rows))
