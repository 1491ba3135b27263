"""Splitting labelled rows in two by time, as they would have been split by somebody who trained at that moment."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.processors.duration import duration
from tidemill.processors.training.columns import EVENT_TIME, KNOWN, SOURCE
from tidemill.schemas.errors import DeclarationError, ModelError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_IN_TIME_ORDER = [(name, "ascending") for name in (EVENT_TIME, *SOURCE)]


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to measure on, each in the order of event times."""

    train: pa.Table
    validation: pa.Table
    at: datetime
    """Events from this time on are measured on."""
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
    (`known_time`) more than `delay` before that time: `delay` is what training takes, and any gap that there should be.
    So no label is learnt from that was not there when the first of the other events had to be answered.

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
    times, known = (_microseconds(ordered[name]) for name in (EVENT_TIME, KNOWN))
    if at is None:
        first = int(times[min(int(len(times) * (1 - validation)), len(times) - 1)])
    else:
        first = (at - _EPOCH) // timedelta(microseconds=1)
    older, in_time = times < first, known < first - duration(delay)
    return Split(
        ordered.filter(pa.array(older & in_time)),
        ordered.filter(pa.array(~older)),
        _EPOCH + timedelta(microseconds=first),
        int(np.count_nonzero(older & ~in_time)),
    )


def _microseconds(column: pa.ChunkedArray) -> NDArray[np.int64]:
    made: NDArray[np.int64] = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_numpy()
    return made
