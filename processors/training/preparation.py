"""From archived outcomes and features to rows to learn from: merged, cleaned, balanced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import polars as pl
import pyarrow as pa

from tidemill.processors.frames import to_polars
from tidemill.processors.training.chance import lots
from tidemill.processors.training.columns import (
    DELAY,
    EVENT_ID,
    EVENT_TIME,
    KNOWN,
    LABEL,
    LABEL_TIME,
    ORDER,
    PROBABILITY,
    REVISION,
    SERVED,
    SOURCE,
    WEIGHT,
)
from tidemill.schemas.errors import DeclarationError, ModelError, nearest

_MILLISECOND = pl.duration(milliseconds=1)
Balance = Literal["weights", "down_sample"]


def merge(
    outcomes: pa.Table,
    columns: Mapping[str, str],
    features: pa.Table | None = None,
    extra: Mapping[str, str] | None = None,
    served: Sequence[str] | None = None,
) -> pa.Table:
    """One row per labelled event: what was known of it, what was answered, and the last revision of its label.

    `outcomes` has the columns of P.outcomes; a label that was written twice, or revised, counts once. `columns` says
    for each column of features in the result what it is called in `outcomes`, and `extra` the same of `features`, the
    columns of P.features, found by the event's place in the log; null where an event has none. `served` are the columns
    of answers to keep, by default all. Where rows say the same, the order given decides: give them in that of the log.

    `known_time` is when the label was known, on the clock of event times: `label_time` where labels name their time,
    else the event's time and the label's delay, rounded up to the next millisecond. Rows come in the order of
    `label_time`, `event_time` and then of the log.

    Raises:
        DeclarationError: there is no such column.

    """
    frame = to_polars(outcomes)
    served = served_columns(frame.columns) if served is None else served
    _require([*columns.values(), *served], frame.columns, "P.outcomes")
    last = frame.sort(EVENT_ID, REVISION, maintain_order=True).unique(EVENT_ID, keep="last", maintain_order=True)
    told = (pl.col(LABEL_TIME) - pl.col(EVENT_TIME)).dt.total_milliseconds() == pl.col(DELAY)
    known = pl.col(EVENT_TIME) + pl.duration(milliseconds=pl.col(DELAY)) + _MILLISECOND
    made = last.select(
        EVENT_ID,
        EVENT_TIME,
        LABEL_TIME,
        pl.when(told).then(pl.col(LABEL_TIME)).otherwise(known).alias(KNOWN),
        *(pl.col(there).alias(name) for name, there in columns.items()),
        LABEL,
        REVISION,
        *served,
        *SOURCE,
    )
    if extra:
        made = made.join(_extra(features, extra), on=list(SOURCE), how="left", maintain_order="left")
    return made.sort(ORDER).to_arrow()


def served_columns(names: Sequence[str]) -> list[str]:
    """Of the columns of P.outcomes, those that tell what was answered."""
    return [name for name in names if name in SERVED or name.startswith(PROBABILITY)]


def _extra(features: pa.Table | None, extra: Mapping[str, str]) -> pl.DataFrame:
    if features is None:
        raise DeclarationError(f"the columns {', '.join(extra)} are features that only P.features has: archive it too")
    frame = to_polars(features)
    _require(extra.values(), frame.columns, "P.features")
    # At least once may have written an event's features twice, with the same values.
    once = frame.unique(list(SOURCE), keep="first", maintain_order=True)
    return once.select(*SOURCE, *(pl.col(there).alias(name) for name, there in extra.items()))


def _require(names: Any, there: Sequence[str], where: str) -> None:
    for name in names:
        if name not in there:
            raise DeclarationError(f"{where} has no column {name!r}{nearest(name, there)}")


@dataclass(frozen=True)
class Cleaned:
    """Rows to learn from, and how many were taken out, by reason."""

    rows: pa.Table
    dropped: dict[str, int] = field(default_factory=dict)


def clean(
    rows: pa.Table, features: Sequence[str], *, classes: Sequence[Any] = (), missing: Literal["keep", "drop"] = "keep"
) -> Cleaned:
    """Make features finite and labels certain.

    NaN and infinite features become null. Rows go whose label is null or NaN (`no_label`), not one of `classes` where
    there are some (`unknown_class`), or none of whose features has a value (`empty`); with `missing="drop"` also those
    that lack any (`incomplete`).

    >>> rows = pa.table({"size": [1.0, float("inf"), 2.0], "label": ["yes", "no", "maybe"]})
    >>> made = clean(rows, ["size"], classes=["no", "yes"])
    >>> made.rows["size"].to_pylist(), made.dropped
    ([1.0], {'empty': 1, 'unknown_class': 1})
    """
    frame = to_polars(rows)
    kinds = frame.schema
    floats = [name for name in features if kinds[name].is_float()]
    frame = frame.with_columns(pl.when(pl.col(name).is_finite()).then(pl.col(name)).alias(name) for name in floats)
    label = pl.col(LABEL)
    without = label.is_null() | (label.is_nan() if kinds[LABEL].is_float() else pl.lit(value=False))
    reasons = {"no_label": without}
    if len(classes):
        reasons["unknown_class"] = ~label.is_in(list(classes))
    if features:
        absent = [pl.col(name).is_null() for name in features]
        reasons["empty"] = pl.all_horizontal(absent)
        if missing == "drop":
            reasons["incomplete"] = pl.any_horizontal(absent)
    dropped: dict[str, int] = {}
    for reason, holds in reasons.items():
        kept = frame.filter(~holds.fill_null(value=True))
        if len(kept) < len(frame):
            dropped[reason] = len(frame) - len(kept)
        frame = kept
    return Cleaned(frame.to_arrow(), dict(sorted(dropped.items())))


def balance(rows: pa.Table, how: Balance = "weights", *, seed: int = 0) -> pa.Table:
    """Give every class the same weight in all.

    "weights" multiplies the column `sample_weight` by rows / (classes × rows of the class), as scikit-learn's
    "balanced" does; "down_sample" keeps of each class as many rows as the rarest has, drawn by `seed`.

    >>> rows = pa.table({"label": ["a", "a", "a", "b"], "source_partition": [0] * 4, "source_offset": range(4)})
    >>> [round(weight, 3) for weight in balance(rows)["sample_weight"].to_pylist()]
    [0.667, 0.667, 0.667, 2.0]
    >>> balance(rows, "down_sample")["label"].to_pylist()
    ['a', 'b']
    """
    if how not in ("weights", "down_sample"):
        raise DeclarationError(f"there is no way to balance called {how!r}{nearest(how, ['weights', 'down_sample'])}")
    _, codes, counts = np.unique(_labels(rows), return_inverse=True, return_counts=True)
    if not len(codes):
        return weighted(rows, np.ones(0))
    if how == "weights":
        return weighted(rows, (len(codes) / (len(counts) * counts))[codes])
    lot, keep = lots(rows, seed), np.zeros(len(codes), bool)
    for code in range(len(counts)):
        (members,) = np.nonzero(codes == code)
        keep[members[np.argsort(lot[members], kind="stable")[: counts.min()]]] = True
    return rows.filter(pa.array(keep))


def weighted(rows: pa.Table, weights: "np.ndarray[Any, np.dtype[np.float64]]") -> pa.Table:
    """The rows with the column `sample_weight`, multiplied by these weights if it is there."""
    place = rows.column_names.index(WEIGHT) if WEIGHT in rows.column_names else None
    if place is None:
        return rows.append_column(WEIGHT, pa.array(weights, pa.float64()))
    return rows.set_column(place, WEIGHT, pa.array(rows[WEIGHT].to_numpy() * weights, pa.float64()))


def _labels(rows: pa.Table) -> "np.ndarray[Any, Any]":
    labels = rows[LABEL].to_numpy(zero_copy_only=False)
    if any(label is None for label in labels.tolist()):
        raise ModelError("there are rows without a label: clean them first")
    return np.asarray(labels, dtype=str) if labels.dtype == object else labels
