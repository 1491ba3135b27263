"""Which stretch of the log rows came from."""

import pyarrow as pa


def offset_ranges(rows: pa.Table) -> list[tuple[int, int, int]]:
    """The first and the last offset of the events that rows are of, by partition: (partition, first, last).

    >>> offset_ranges(pa.table({"source_partition": [1, 0, 1], "source_offset": [7, 3, 5]}))
    [(0, 3, 3), (1, 5, 7)]
    """
    grouped = rows.group_by("source_partition").aggregate([("source_offset", "min"), ("source_offset", "max")])
    found = grouped.to_pylist()
    return sorted((r["source_partition"], r["source_offset_min"], r["source_offset_max"]) for r in found)


def offset_records(rows: pa.Table) -> list[dict[str, int]]:
    """The same as P.models has it."""
    return [{"partition": partition, "first": first, "last": last} for partition, first, last in offset_ranges(rows)]
