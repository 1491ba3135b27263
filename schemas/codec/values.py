"""One Python value, checked and made into what a column of its type stores."""

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from decimal import Context, Decimal, InvalidOperation
from numbers import Integral, Real
from typing import Any
from uuid import UUID

from tidemill.schemas.avsc import Node
from tidemill.schemas.columns import decimal_of, logical_type
from tidemill.schemas.errors import nearest

Convert = Callable[[Any], Any]

_BITS = {"int": 32, "long": 64}
_PER_SECOND = {"millis": 1_000, "micros": 1_000_000, "nanos": 1_000_000_000}
_FLOAT_LIMIT = 3.4028235677973366e38
"""From here on a number rounds to an infinity of 32 bits."""
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  (local timestamps count from midnight in whatever place)
_DIGITS = Context(prec=60)


class Misfit(Exception):
    """A value that its type does not hold: the message says what was expected."""


def scalar(node: Node) -> Convert:
    """How a value of a type without parts is checked and stored; the function raises Misfit."""
    logical = logical_type(node)
    if logical == "decimal":
        return _decimal(node)
    if logical == "uuid":
        return _uuid
    if logical == "date":
        return _or_integer(node, _date)
    if logical is not None:
        kind, _, unit = logical.rpartition("-")
        convert = {"time": _time, "timestamp": _timestamp, "local-timestamp": _local}[kind](_PER_SECOND[unit])
        return _or_integer(node, convert, 86_400 * _PER_SECOND[unit] if kind == "time" else None)
    match node.type:
        case "int" | "long":
            return _or_integer(node, None)
        case "enum":
            return _enum(list(node.symbols))
        case "fixed":
            return _bytes(node.size)
        case "bytes":
            return _bytes(None)
    return {"null": _null, "boolean": _boolean, "float": _float, "double": _double, "string": _string}[node.type]


def _null(value: Any) -> None:
    if value is not None:
        raise Misfit("null")


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise Misfit("a boolean")
    return value


def _or_integer(node: Node, convert: Convert | None, day: int | None = None) -> Convert:
    """An integer within the type's range, as it is; another value by `convert`."""
    limit = 1 << (_BITS[node.type] - 1)
    low, high = (-limit, limit - 1) if day is None else (0, day - 1)

    def check(value: Any) -> int:
        if isinstance(value, Integral) and not isinstance(value, bool):
            stored = int(value)
        elif convert is None:
            raise Misfit(f"an integer of {_BITS[node.type]} bits")
        else:
            stored = convert(value)
        if not low <= stored <= high:
            raise Misfit(f"an integer from {low} to {high}")
        return stored

    return check


def _double(value: Any) -> float:
    if not isinstance(value, Real) or isinstance(value, bool):
        raise Misfit("a number")
    try:
        stored = float(value)
    except OverflowError:
        raise Misfit("a number that a double holds") from None
    if isinstance(value, Integral) and stored != value:
        raise Misfit("a number that a double holds exactly")
    return stored


def _float(value: Any) -> float:
    stored = _double(value)
    if math.isfinite(stored) and abs(stored) >= _FLOAT_LIMIT:
        raise Misfit("a number within the range of a float")
    return stored


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise Misfit("text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Misfit("text without lone surrogates, which UTF-8 cannot hold") from None
    return value


def _uuid(value: Any) -> str:
    if isinstance(value, UUID):
        return str(value)
    try:
        UUID(_string(value))
    except ValueError:
        raise Misfit("a UUID") from None
    return str(value)


def _enum(symbols: list[str]) -> Convert:
    def check(value: Any) -> str:
        if value not in symbols:
            raise Misfit(f"one of the symbols{nearest(str(value), symbols)}")
        return str(value)

    return check


def _bytes(size: int | None) -> Convert:
    def check(value: Any) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview) or size not in (None, len(value)):
            raise Misfit("bytes" if size is None else f"{size} bytes")
        return bytes(value)

    return check


def _decimal(node: Node) -> Convert:
    digits = decimal_of(node)

    def check(value: Any) -> Decimal:
        expected = f"a decimal of {digits.precision} digits, {digits.scale} of them after the point"
        if not isinstance(value, Decimal | int | str) or isinstance(value, bool):
            raise Misfit(f"{expected} (as Decimal, int or text)")
        try:
            given = Decimal(value)
            stored = given.quantize(Decimal(1).scaleb(-digits.scale), context=_DIGITS)
        except InvalidOperation:
            raise Misfit(expected) from None
        if stored != given or abs(stored) >= Decimal(10) ** (digits.precision - digits.scale):
            raise Misfit(expected)
        return stored

    return check


def _date(value: Any) -> int:
    if isinstance(value, str):
        value = _iso(date, value, "a date such as 2013-01-31")
    if not isinstance(value, date) or isinstance(value, datetime):
        raise Misfit("a date, ISO 8601 text, or days since 1970-01-01")
    return (value - _EPOCH.date()).days


def _time(per_second: int) -> Convert:
    def convert(value: Any) -> int:
        if isinstance(value, str):
            value = _iso(time, value, "a time of day such as 17:30:00")
        if not isinstance(value, time) or value.tzinfo is not None:
            raise Misfit(f"a time of day without a zone, ISO 8601 text, or {per_second}ths of a second since midnight")
        since = timedelta(hours=value.hour, minutes=value.minute, seconds=value.second, microseconds=value.microsecond)
        return _units(since, per_second)

    return convert


def _timestamp(per_second: int) -> Convert:
    expected = f"a datetime with a zone, ISO 8601 text with one, or {per_second}ths of a second since 1970-01-01 UTC"

    def convert(value: Any) -> int:
        if isinstance(value, str):
            value = _iso(datetime, value, "a time with a zone such as 2013-01-31T17:30:00Z")
        if not isinstance(value, datetime) or value.utcoffset() is None:
            raise Misfit(expected)
        return _units(value - _EPOCH.replace(tzinfo=UTC), per_second)

    return convert


def _local(per_second: int) -> Convert:
    expected = f"a datetime without a zone, ISO 8601 text without one, or {per_second}ths of a second since 1970-01-01"

    def convert(value: Any) -> int:
        if isinstance(value, str):
            value = _iso(datetime, value, "a time without a zone such as 2013-01-31T17:30:00")
        if not isinstance(value, datetime) or value.utcoffset() is not None:
            raise Misfit(expected)
        return _units(value - _EPOCH, per_second)

    return convert


def _iso(kind: Any, text: str, expected: str) -> Any:
    try:
        return kind.fromisoformat(text)
    except ValueError:
        raise Misfit(expected) from None


def _units(since: timedelta, per_second: int) -> int:
    """Whole units, the rest cut off towards the past."""
    micros = since // timedelta(microseconds=1)
    return micros * per_second // 1_000_000
