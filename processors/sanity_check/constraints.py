"""The checks that a contract carries in itself: constraints beside its fields, and sound numbers."""

from collections.abc import Iterable, Set
from datetime import date
from typing import Literal

import polars as pl
import pyarrow as pa

from tidemill.processors.frames import to_polars
from tidemill.processors.sanity_check.checks import Check, between, matches, one_of, present
from tidemill.schemas.batch import Rejection
from tidemill.schemas.constraints import Constraints
from tidemill.schemas.contract import Contract

NanPolicy = Literal["reject", "null", "allow"]


def contract_checks(contract: Contract, *, nan: NanPolicy = "reject") -> list[Check]:
    """Turn what stands in the schema into checks, field by field.

    Floats must be finite, unless `nan` is "allow"; with "null", only those must which cannot be null.
    """
    checks: list[Check] = []
    for field in contract.fields:
        if field.constraints is not None:
            checks += _field_checks(field.name, field.constraints)
        if pa.types.is_temporal(field.arrow) and not pa.types.is_time(field.arrow):
            checks.append(_calendar(field.name, field.arrow))
        may_be_nan = nan == "allow" or (nan == "null" and field.nullable)
        if pa.types.is_floating(field.arrow) and not may_be_nan:
            checks.append(finite(field.name))
    return checks


class ContractCheck:
    """A contract's own checks over a table, for producers who want to know before they send."""

    def __init__(self, contract: Contract) -> None:
        self._checks = contract_checks(contract)
        self._private = frozenset(field.name for field in contract.fields if field.private)

    def faults(self, table: pa.Table) -> list[Rejection]:
        """The rows that fail, by check and then by row."""
        frame = to_polars(table)
        found = []
        for given in self._checks:
            assert given.ok is not None
            bad = frame.select(given.ok.fill_null(value=True)).to_series().not_().arg_true()
            found += [self._fault(table, row, given) for row in bad]
        return found

    def _fault(self, table: pa.Table, row: int, given: Check) -> Rejection:
        said = describe_failure(table, row, given, given.fields, private=self._private)
        return Rejection(row, given.reason, said)


def describe_failure(
    table: pa.Table,
    row: int,
    given: Check,
    fields: Iterable[str],
    raised: str | None = None,
    private: Set[str] = frozenset(),
) -> str:
    """What was expected of a row, and what it holds; `raised` says why the check could not be computed for it.

    What `private` fields hold is not told, nor why a check of theirs could not be computed: that may quote them.
    """
    fields = list(fields)
    if raised is not None and not private.isdisjoint(fields):
        raised = "why is private"
    but = "" if raised is None else f", which could not be computed ({raised})"
    got = ", ".join(f"{name}={'(private)' if name in private else _show(table[name][row])}" for name in fields)
    return f"expected {given.expected}{but}, got {got} (check {given.name})"


def _show(value: pa.Scalar) -> str:
    try:
        plain = value.as_py()
        text = plain.isoformat() if isinstance(plain, date) else repr(plain)
    except (ValueError, OverflowError):
        # Dates that Python's calendar does not hold, anywhere in the value: Arrow writes them as numbers.
        text = " ".join(pa.repeat(value, 1).to_string(skip_new_lines=True).split())
    return text if len(text) <= 80 else text[:77] + "…"


def finite(field: str) -> Check:
    """The number is neither NaN nor infinite."""
    return Check(f"finite({field})", "not_finite", f"a finite number in {field}", pl.col(field).is_finite(), (field,))


def _calendar(name: str, kind: pa.DataType) -> Check:
    """The date lies in years 1 to 9999: beyond them calendars, Python and most databases do not follow."""
    low, high = calendar_range(kind)
    ok = pl.col(name).to_physical().is_between(low, high)
    return Check(f"calendar({name})", "out_of_range", f"{name} in the years 1 to 9999", ok, (name,))


def calendar_range(kind: pa.DataType) -> tuple[int, int]:
    """The first and last value of a date or timestamp type, in its own unit, that lie in the years 1 to 9999.

    Of nanoseconds all do: int64 does not reach further than from 1677 to 2262.

    >>> calendar_range(pa.date32())
    (-719162, 2932896)
    """
    days = (-719162, 2932896)
    if pa.types.is_date32(kind):
        return days
    if kind.unit == "ns":
        return -(2**63), 2**63 - 1
    per_day = 86_400 * {"s": 1, "ms": 1_000, "us": 1_000_000}[kind.unit]
    return days[0] * per_day, (days[1] + 1) * per_day - 1


def _field_checks(name: str, given: Constraints) -> list[Check]:
    checks: list[Check] = []
    column = pl.col(name)
    if given.required:
        checks.append(present(name))
    if given.minimum is not None or given.maximum is not None:
        checks.append(between(name, given.minimum, given.maximum))
    if given.exclusive_minimum is not None:
        low = given.exclusive_minimum
        checks.append(Check(f"above({name})", "out_of_range", f"{name} above {low}", column > low, (name,)))
    if given.exclusive_maximum is not None:
        high = given.exclusive_maximum
        checks.append(Check(f"below({name})", "out_of_range", f"{name} below {high}", column < high, (name,)))
    if given.enum is not None:
        checks.append(one_of(name, given.enum))
    if given.pattern is not None:
        checks.append(matches(name, given.pattern))
    if given.min_length is not None:
        n = given.min_length
        checks.append(
            Check(
                f"min_length({name})",
                "out_of_range",
                f"{name} of at least {n} characters",
                column.str.len_chars() >= n,
                (name,),
            )
        )
    if given.max_length is not None:
        n = given.max_length
        checks.append(
            Check(
                f"max_length({name})",
                "out_of_range",
                f"{name} of at most {n} characters",
                column.str.len_chars() <= n,
                (name,),
            )
        )
    return checks
