"""Which labelled rows a job learns from, chooses by, and is examined on: by time, and mature ones only.

    learnt ─────────────────────────────┬─ chosen by ─┬─ examined on ─┬─ not mature ─►  event time
    all, since the change, newest parts │             │               │

The newest rows with labels are not the newest rows: those whose labels are quick would speak for all. So rows count up
to where nearly all labels are in. A candidate is examined on rows that neither its parameters nor its window of
training was chosen by.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.processors.training.columns import EVENT_TIME, KNOWN

MATURE = 0.95
"""The share of labels that must be in, by how long labels have taken so far."""
MOST_EXAMINED = 20_000
"""More rows than that make a verdict slower, but hardly surer."""
_PARTS = {"newest half": 0.5, "newest quarter": 0.25, "newest eighth": 0.125}


@dataclass(frozen=True)
class Stretches:
    """The rows of a job in the order of event time; `immature` counts those that were too new to count."""

    train: pa.Table
    choose: pa.Table
    examine: pa.Table
    mature_until: datetime
    immature: int


def mature_until(rows: pa.Table, reached: datetime) -> datetime:
    """Up to which event time nearly all labels are in, when events have come as far as `reached`."""
    delay = pc.subtract(pc.cast(rows[KNOWN], pa.int64()), pc.cast(rows[EVENT_TIME], pa.int64())).to_numpy()
    return reached - timedelta(microseconds=max(float(np.quantile(delay, MATURE)), 0.0))


def stretches(rows: pa.Table, reached: datetime, *, choose: float = 0.15, examine: float = 0.2) -> Stretches:
    """Cut mature rows by time; the last share `examine` is examined on, the share `choose` before it chosen by.

    At most `MOST_EXAMINED` rows are examined on, and as many chosen by.
    A row is learnt only if its label was known when the first event after that stretch came.
    """
    until = mature_until(rows, reached)
    kind = rows.schema.field(EVENT_TIME).type
    mature = rows.filter(pc.less_equal(rows[EVENT_TIME], pa.scalar(until, kind)))
    ordered = mature.sort_by(
        [(EVENT_TIME, "ascending"), ("source_partition", "ascending"), ("source_offset", "ascending")]
    )
    count = ordered.num_rows
    last_cut = max(int(count * (1 - examine)), count - MOST_EXAMINED)
    cuts = [max(last_cut - int(count * choose), last_cut - MOST_EXAMINED), last_cut]
    train, middle, last = ordered[: cuts[0]], ordered[cuts[0] : cuts[1]], ordered[cuts[1] :]
    return Stretches(_known(train, middle), _known(middle, last), last, until, rows.num_rows - count)


def windows(rows: pa.Table, since: datetime | None) -> Mapping[str, pa.Table]:
    """What a model may be fitted on: all rows, those since the change, the newest parts; by name, each set once."""
    made = {"all": rows}
    if since is not None:
        kind = rows.schema.field(EVENT_TIME).type
        made["since the change"] = rows.filter(pc.greater_equal(rows[EVENT_TIME], pa.scalar(since, kind)))
    made |= {name: rows[int(rows.num_rows * (1 - share)) :] for name, share in _PARTS.items()}
    distinct: dict[int, str] = {}
    for name, each in made.items():
        distinct.setdefault(each.num_rows, name)
    return {name: made[name] for name in distinct.values()}


def _known(rows: pa.Table, after: pa.Table) -> pa.Table:
    """Rows whose labels were known when the first event of `after` came."""
    if not after.num_rows:
        return rows
    return rows.filter(pc.less_equal(rows[KNOWN], pc.cast(after[EVENT_TIME][0], rows.schema.field(KNOWN).type)))
