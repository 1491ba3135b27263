"""The rows of each value of a field: slices, and groups of sensitive fields."""

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.drift.slices import MOST_SLICES, slice_name
from tidemill.processors.frames import to_polars

Rows = NDArray[np.int64]


def groups_of(
    columns: Mapping[str, Any], field: str, private: Collection[str] = (), most: int = MOST_SLICES
) -> dict[str, Rows]:
    """The rows of a field's most frequent values, by slice name, in the order of names; rows without one are left out.

    Values of a `private` field are never named: its groups are numbered, the largest first.

    >>> found = groups_of({"origin": ["JFK", "EWR", "JFK", None]}, "origin")
    >>> {name: rows.tolist() for name, rows in found.items()}
    {'origin=EWR': [1], 'origin=JFK': [0, 2]}
    >>> list(groups_of({"sex": ["f", "m", "m"]}, "sex", private={"sex"}))
    ['sex=#1', 'sex=#2']
    """
    given = columns[field]
    values = given if isinstance(given, pa.ChunkedArray) else pa.array(given)
    frame = to_polars(pa.table({"value": values.cast(pa.large_string())})).with_row_index("row")
    found = frame.drop_nulls().group_by("value", maintain_order=True).agg("row")
    sized = sorted(found.iter_rows(), key=lambda pair: (-len(pair[1]), pair[0]))[:most]
    if field in private:
        named = {slice_name(field, f"#{place}"): rows for place, (_, rows) in enumerate(sized, 1)}
    else:
        named = {slice_name(field, value): rows for value, rows in sorted(sized)}
    return {name: np.array(rows, np.int64) for name, rows in named.items()}
