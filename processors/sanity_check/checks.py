"""What a pipeline can ask of its events.

A check is an expression that is true for a good event. Null passes, as in SQL's CHECK: that a value is there at all is
asked by `present` (or `"required": true` in the schema). A check rejects the event or, with `on_failure="warn"`,
only counts it; with `on_failure="flag"` the event is counted and marked too.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, get_args

import polars as pl

from tidemill.processors.duration import duration
from tidemill.processors.feature_enrichment.expression import expression
from tidemill.schemas.errors import DeclarationError, nearest

OnFailure = Literal["reject", "warn", "flag"]
_ON_FAILURE = get_args(OnFailure)
CUSTOM = "check_failed"
"""The reason of a check whose expression is the user's own."""

RECORD_TIME = "__record_time"
"""The column in which time checks find the Kafka record's own timestamp: "now" for the producer, also in a replay."""
EVENT_TIME = "__event_time"
WATERMARK = "__watermark"
"""The column with the greatest event time among the partition's earlier good events."""


@dataclass(frozen=True)
class Check:
    """One expectation: `ok` is true (or null) for events that meet it; `expected` completes "expected …"."""

    name: str
    reason: str
    expected: str
    ok: pl.Expr | None = field(repr=False)
    fields: tuple[str, ...] = ()
    on_failure: OnFailure = "reject"
    within: int = 0
    """For `unique`: microseconds for which an id is remembered."""

    def __post_init__(self) -> None:
        if self.on_failure not in _ON_FAILURE:
            raise DeclarationError(
                f"check {self.name}: on_failure must be 'reject', 'warn' or 'flag', not {self.on_failure!r}"
                f"{nearest(self.on_failure, _ON_FAILURE)}"
            )

    @property
    def flag(self) -> str:
        """The boolean field of P.validated that is true for events that fail the check, if it is to flag them.

        >>> not_late("1h", on_failure="flag").flag, present("carrier", on_failure="flag").flag
        ('too_late', 'missing_value_carrier')
        """
        return "_".join(["failed", self.name] if self.reason == CUSTOM else [self.reason, *self.fields])

    def describe(self) -> dict[str, Any]:
        """A stable description: it goes into the pipeline's version."""
        expression = None if self.ok is None else self.ok.meta.serialize(format="json")
        return {
            "check": self.name,
            "reason": self.reason,
            "ok": expression,
            "on_failure": self.on_failure,
            "within": self.within,
        }


def between(field: str, low: float | None, high: float | None, *, on_failure: OnFailure = "reject") -> Check:
    """The field lies in [low, high]; None leaves a side open.

    >>> between("distance", 1, 6000).expected
    'distance between 1 and 6000'
    """
    if low is None and high is None:
        raise DeclarationError(f"between({field!r}): give a low limit, a high limit, or both")
    if low is not None and high is not None and low > high:
        raise DeclarationError(f"between({field!r}): no value is from {low} to {high}")
    column = pl.col(field)
    ok = pl.lit(value=True)
    if low is not None:
        ok = ok & (column >= low)
    if high is not None:
        ok = ok & (column <= high)
    if low is None or high is None:
        expected = f"{field} at most {high}" if low is None else f"{field} at least {low}"
    else:
        expected = f"{field} between {low} and {high}"
    return Check(f"between({field})", "out_of_range", expected, ok, (field,), on_failure)


def one_of(field: str, values: Iterable[Any], *, on_failure: OnFailure = "reject") -> Check:
    """The field is one of a fixed set.

    >>> one_of("origin", ["EWR", "JFK"]).expected
    "origin one of 'EWR', 'JFK'"
    """
    # A set's order changes from process to process, and would change the pipeline's version with it.
    listed = sorted(values, key=repr) if isinstance(values, Set) else values
    allowed = [] if isinstance(listed, str) else list(listed)
    if not allowed:
        raise DeclarationError(f"one_of({field!r}): expected a list of values, such as ['EWR', 'JFK']; got {values!r}")
    try:
        ok = pl.col(field).is_in(allowed)
    except TypeError:
        raise DeclarationError(f"one_of({field!r}): expected values of one type, got {allowed!r}") from None
    shown = ", ".join(repr(value) for value in allowed[:10]) + (", …" if len(allowed) > 10 else "")
    return Check(f"one_of({field})", "not_in_set", f"{field} one of {shown}", ok, (field,), on_failure)


def matches(field: str, pattern: str, *, on_failure: OnFailure = "reject") -> Check:
    """The text matches a regular expression somewhere (anchor it with ^ and $), in the syntax of Rust's regex crate."""
    try:
        pl.DataFrame({"x": [""]}).select(pl.col("x").str.contains(pattern))
    except pl.exceptions.ComputeError as error:
        raise DeclarationError(
            f"matches({field!r}): {pattern!r} is not a regular expression that can be used: {error}"
        ) from None
    ok = pl.col(field).str.contains(pattern)
    return Check(f"matches({field})", "pattern_mismatch", f"{field} to match {pattern!r}", ok, (field,), on_failure)


def present(field: str, *, on_failure: OnFailure = "reject") -> Check:
    """The field is not null."""
    return Check(
        f"present({field})", "missing_value", f"a value in {field}", pl.col(field).is_not_null(), (field,), on_failure
    )


def check(name: str, ok: pl.Expr, *, expected: str | None = None, on_failure: OnFailure = "reject") -> Check:
    """Any row-wise expression over the event's fields, for rules across fields.

    An event for which the expression raises fails the check. As a feature's expression, it must depend on nothing but
    its own row, and must not call Python functions.

    >>> check("arrives_after_departure", pl.col("arrival") > pl.col("departure")).fields
    ('arrival', 'departure')
    """
    if not name.isidentifier():
        raise DeclarationError(
            f"check {name!r}: the name is used in metrics and must be an identifier such as 'arrives_late'"
        )
    try:
        expression(**{name: ok})
    except DeclarationError as error:
        raise DeclarationError(str(error).replace("expression()", "check()", 1)) from None
    fields = tuple(sorted(set(ok.meta.root_names())))
    if not fields:
        raise DeclarationError(f"check {name!r} reads no field of the event; expected an expression over some")
    return Check(name, CUSTOM, expected or name.replace("_", " "), ok, fields, on_failure)


def not_older_than(age: str | timedelta, *, on_failure: OnFailure = "reject") -> Check:
    """The event's time is at most `age` before its record's timestamp: the moment at which it was sent."""
    ok = pl.col(RECORD_TIME) - pl.col(EVENT_TIME) <= duration(age)
    return Check("not_older_than", "too_old", f"an event time at most {age} before it was sent", ok, (), on_failure)


def not_in_future(tolerance: str | timedelta = "1m", *, on_failure: OnFailure = "reject") -> Check:
    """The event's time is at most `tolerance` after its record's timestamp; clocks differ, so allow for some."""
    ok = pl.col(EVENT_TIME) - pl.col(RECORD_TIME) <= duration(tolerance)
    return Check(
        "not_in_future", "in_future", f"an event time at most {tolerance} after it was sent", ok, (), on_failure
    )


def not_late(by: str | timedelta, *, on_failure: OnFailure = "reject") -> Check:
    """The event's time is at most `by` behind the newest event time seen before it on its partition."""
    ok = pl.col(WATERMARK) - pl.col(EVENT_TIME) <= duration(by)
    return Check(
        "not_late", "too_late", f"an event time at most {by} behind the newest one on its partition", ok, (), on_failure
    )


def unique(within: str | timedelta = "1d", *, on_failure: OnFailure = "reject") -> Check:
    """The event's id was not seen within `within`, by the records' timestamps, on the same partition."""
    span = duration(within)
    return Check("unique", "duplicate_id", f"an id not seen in the last {within}", None, (), on_failure, span)
