"""What a window tells about a key's earlier events."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from tidemill.processors.duration import duration
from tidemill.schemas.errors import DeclarationError


class Kind(StrEnum):
    """How the values in a window become one number."""

    COUNT = "count"
    SUM = "sum"
    MEAN = "mean"
    STD = "std"
    MIN = "min"
    MAX = "max"
    FIRST = "first"
    LAST = "last"
    DECAYED_MEAN = "decayed_mean"
    DISTINCT = "distinct"
    TIME_SINCE_LAST = "time_since_last"


@dataclass(frozen=True)
class Aggregate:
    """One aggregate over one field, or over the events; made by the functions of this module."""

    kind: Kind
    field: str | None = None
    """The field aggregated; None is the events themselves."""
    half_life: int | None = None
    """In microseconds; only of a decayed mean."""
    limit: int | None = None
    """How far values are counted; only of a distinct count."""

    @property
    def counts(self) -> bool:
        """Whether it is a whole number that is never null; otherwise it is a double."""
        return self.kind in (Kind.COUNT, Kind.DISTINCT)

    def describe(self) -> dict[str, Any]:
        """All that decides its values."""
        described = {"kind": self.kind.value, "field": self.field, "half_life_us": self.half_life}
        return described if self.limit is None else {**described, "limit": self.limit}


def count(field: str | None = None) -> Aggregate:
    """How many events there were, or how many had a value in `field` (neither null nor NaN); 0 when none."""
    return Aggregate(Kind.COUNT, None if field is None else _named(Kind.COUNT, field))


def sum(field: str) -> Aggregate:  # noqa: A001 - the names that SQL has for them
    """The sum of the field's values; 0.0 when there are none."""
    return Aggregate(Kind.SUM, _named(Kind.SUM, field))


def mean(field: str) -> Aggregate:
    """The mean of the field's values; null when there are none."""
    return Aggregate(Kind.MEAN, _named(Kind.MEAN, field))


def std(field: str) -> Aggregate:
    """The sample standard deviation of the field's values, with n - 1 below; null when there are fewer than two.

    Computed from deviations and not from squares of the values, so that it holds where they are large and close.
    """
    return Aggregate(Kind.STD, _named(Kind.STD, field))


def min(field: str) -> Aggregate:  # noqa: A001
    """The least of the field's values; null when there are none."""
    return Aggregate(Kind.MIN, _named(Kind.MIN, field))


def max(field: str) -> Aggregate:  # noqa: A001
    """The greatest of the field's values; null when there are none."""
    return Aggregate(Kind.MAX, _named(Kind.MAX, field))


def first(field: str) -> Aggregate:
    """The value in the window's earliest bucket that was read first from the log; null when there are no values."""
    return Aggregate(Kind.FIRST, _named(Kind.FIRST, field))


def last(field: str) -> Aggregate:
    """The value in the window's latest bucket that was read last from the log; null when there are no values."""
    return Aggregate(Kind.LAST, _named(Kind.LAST, field))


def decayed_mean(field: str, half_life: str | timedelta = "6h") -> Aggregate:
    """The mean of the field's values, each half as heavy as one `half_life` later; null when there are none.

    Ages are counted in whole buckets of the window's resolution.
    """
    span = duration(half_life)
    if span == 0:
        raise DeclarationError("decayed_mean() expected a half_life longer than zero")
    return Aggregate(Kind.DECAYED_MEAN, _named(Kind.DECAYED_MEAN, field), span)


def distinct(field: str, limit: int = 100) -> Aggregate:
    """How many different values the field had, counted up to `limit`; 0 when none.

    Exact below the limit; `limit` itself means that many or more. Numbers, booleans, dates and timestamps are told
    apart by their value; text by a 64-bit hash of it (BLAKE2b, RFC 7693), which takes two of n texts for one another
    with a probability of about n² / 2⁶⁵. Every bucket keeps up to `limit` values.
    """
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise DeclarationError(f"distinct() expected a limit of at least 1, a whole number; got {limit!r}")
    return Aggregate(Kind.DISTINCT, _named(Kind.DISTINCT, field), limit=limit)


def time_since_last() -> Aggregate:
    """Seconds since the event in the window's latest bucket that was read last; null when there are no events.

    Negative, by less than one resolution, where that event lies in the same bucket and its time is the later one.
    """
    return Aggregate(Kind.TIME_SINCE_LAST)


def _named(kind: Kind, field: str) -> str:
    if not isinstance(field, str):
        raise DeclarationError(
            f"{kind.value}() expected the name of a field, got {type(field).__name__}; "
            f"give an expression a name with expression(name=...) first and aggregate that"
        )
    return field
