"""Whether there are enough rows, newer than what the candidate has learnt, with features as served."""

import pyarrow as pa
import pyarrow.compute as pc

from tidemill.processors.training.gates.examination import Examination
from tidemill.processors.training.gates.verdict import GateResult


def rows_gate(given: Examination) -> GateResult:
    """Whether there are enough mature rows to show anything."""
    rows, least = len(given.labels), given.gates.least_rows
    said = f"There are {rows:,} rows to examine it on; at least {least:,} are needed."
    return GateResult("rows", rows >= least, {"rows": rows, "least": least}, said)


def newer_gate(given: Examination) -> GateResult:
    """Whether the candidate has seen none of the rows, and all are newer than those that it has learnt.

    Newer is either of two: events that happened after all events learnt, or labels that were known after all labels
    learnt.
    """
    assert given.rows is not None
    assert given.trained is not None
    seen = _shared(given.rows, given.trained)
    later = [name for name in ("event_time", "label_time") if _after(given.rows, given.trained, name)]
    figures = {"rows": given.rows.num_rows, "seen_in_training": seen, "newer": float(bool(later))}
    if seen:
        said = f"The candidate has learnt {seen:,} of the {given.rows.num_rows:,} rows that it is examined on."
    elif not later:
        said = "The rows are not newer than those learnt, neither by event time nor by when their labels were known."
    else:
        by = " and by ".join("event time" if name == "event_time" else "when labels were known" for name in later)
        said = f"All {given.rows.num_rows:,} rows are newer than those learnt, by {by}, and none was learnt."
    return GateResult("newer", not seen and bool(later), figures, said)


def parity_gate(given: Examination) -> GateResult:
    """Whether features as served are, bit for bit, those that a replay of the same events makes."""
    assert given.parity is not None
    compared, equal = given.parity.compared, given.parity.equal
    said = f"{equal:,} of {compared:,} rows of served features are equal to those of a replay."
    if not compared:
        said = "No row of served features could be compared with a replay."
    figures = {"compared": compared, "equal": equal}
    return GateResult("parity", compared > 0 and equal == compared, figures, said)


def _shared(rows: pa.Table, trained: pa.Table) -> int:
    if "event_id" not in rows.column_names or "event_id" not in trained.column_names:
        return 0
    ids = [pc.cast(table["event_id"], pa.large_string()) for table in (rows, trained)]
    return int(pc.sum(pc.is_in(ids[0], value_set=ids[1].combine_chunks())).as_py() or 0)


def _after(rows: pa.Table, trained: pa.Table, name: str) -> bool:
    if name not in rows.column_names or name not in trained.column_names:
        return False
    first, last = pc.min(rows[name]).as_py(), pc.max(trained[name]).as_py()
    return first is not None and last is not None and bool(first >= last)
