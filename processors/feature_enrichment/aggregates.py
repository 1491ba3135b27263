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
    MIN = "min"
    MAX = "max"
    LAST = "last"
    DECAYED_MEAN = "decayed_mean"


@dataclass(frozen=True)
class Aggregate:
    """One aggregate over one field; made by `count`, `sum`, `mean`, `min`, `max`, `last` and `decayed_mean`."""

    kind: Kind
    field: str | None = None
    """The field aggregated; None counts events."""
    half_life: int | None = None
    """In microseconds; only of a decayed mean."""

    def describe(self) -> dict[str, Any]:
        """All that decides its values."""
        return {"kind": self.kind.value, "field": self.field, "half_life_us": self.half_life}


def count(field: str | None = None) -> Aggregate:
    """How many events there were, or how many had a value in `field` (neither null nor NaN); 0 when none."""
    return Aggregate(Kind.COUNT, None if field is None else _named(Kind.COUNT, field))


def sum(field: str) -> Aggregate:  # noqa: A001 - the names that SQL has for them
    """The sum of the field's values; 0.0 when there are none."""
    return Aggregate(Kind.SUM, _named(Kind.SUM, field))


def mean(field: str) -> Aggregate:
    """The mean of the field's values; null when there are none."""
    return Aggregate(Kind.MEAN, _named(Kind.MEAN, field))


def min(field: str) -> Aggregate:  # noqa: A001
    """The least of the field's values; null when there are none."""
    return Aggregate(Kind.MIN, _named(Kind.MIN, field))


def max(field: str) -> Aggregate:  # noqa: A001
    """The greatest of the field's values; null when there are none."""
    return Aggregate(Kind.MAX, _named(Kind.MAX, field))


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


def _named(kind: Kind, field: str) -> str:
    if not isinstance(field, str):
        raise DeclarationError(
            f"{kind.value}() expected the name of a field, got {type(field).__name__}; "
            f"give an expression a name with expression(name=...) first and aggregate that"
        )
    return field
