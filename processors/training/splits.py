"""Splitting labelled rows in two by time, as they would have been split by somebody who trained at that moment."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tidemill.processors.duration import duration
from tidemill.processors.training.columns import EVENT_TIME, KNOWN, SOURCE
from tidemill.schemas.errors import DeclarationError, ModelError

_IN_TIME_ORDER = [(name, "ascending") for name in (EVENT_TIME, *SOURCE)]


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to measure on, each in the order of event times."""

    train: pa.Table
    validation: pa.Table
    at: datetime
    """The time of the first event to measure on."""
    unknown: int
    """Rows that are in neither, because their events are older but their labels were not known in time."""


def split_by_time(
    rows: pa.Table,
    *,
    validation: float = 0.2,
    at: datetime | None = None,
    delay: str | timedelta = "0s",
) -> Split:
    """Keep the newest events to measure on, and learn from what was known before the first of them.

    `validation` is the share of rows to measure on; `at` gives the time instead from which on events are measured on.
    Events of one time stay together, so the share may come out larger. A row is learnt from if its label was known
    (`known_time`) at the latest `delay` before the first event that is measured on: `delay` is what training takes, and
    any gap that there should be. So no label can tell of what it is measured on.

    Raises:
        DeclarationError: the share is not between 0 and 1, or `at` has no zone.
        ModelError: there are no rows at all.

    """
    if not 0 < validation < 1:
        raise DeclarationError(f"validation: expected a share of the rows between 0 and 1, got {validation!r}")
    if at is not None and at.tzinfo is None:
        raise DeclarationError(f"at: expected a time with a zone, got {at.isoformat()}")
    if not rows.num_rows:
        raise ModelError("there are no labelled rows to split; wait for labels, or choose more events")
    ordered = rows.sort_by(_IN_TIME_ORDER)
    times = ordered[EVENT_TIME].to_numpy()
    if at is None:
        first = times[min(int(np.floor(len(times) * (1 - validation))), len(times) - 1)]
    else:
        later = times[times >= np.datetime64(int(at.timestamp() * 1e6), "us")]
        first = later[0] if len(later) else np.datetime64(round(at.timestamp() * 1e6), "us")
    until = first - np.timedelta64(duration(delay), "us")
    older = times < first
    known = ordered[KNOWN].to_numpy() <= until
    moment = pc.scalar(int(first.astype("datetime64[us]").astype(np.int64))).cast(pa.timestamp("us", "UTC")).as_py()
    return Split(
        ordered.filter(pa.array(older & known)),
        ordered.filter(pa.array(~older)),
        moment,
        int(np.count_nonzero(older & ~known)),
    )
