"""Spans of time as people write them."""

import re
from datetime import timedelta

from tidemill.schemas.errors import DeclarationError

_MICROSECONDS = {
    "w": 604_800_000_000,
    "d": 86_400_000_000,
    "h": 3_600_000_000,
    "m": 60_000_000,
    "s": 1_000_000,
    "ms": 1_000,
}
_TEXT = re.compile("".join(rf"(?:(?P<{unit}>[0-9]+){unit})?" for unit in _MICROSECONDS), re.ASCII)
# Times are int64 microseconds: a longer span could leave that range when it is added to one.
_LONGEST = 2**60


def duration(value: str | timedelta) -> int:
    """A span of time in microseconds, never negative.

    Units are w, d, h, m, s and ms, each at most once and from the longest to the shortest.

    >>> duration("1h30m")
    5400000000
    >>> duration(timedelta(days=3)) == duration("3d")
    True

    Raises DeclarationError for anything else.
    """
    if isinstance(value, timedelta):
        span = value // timedelta(microseconds=1)
    else:
        match = _TEXT.fullmatch(value) if isinstance(value, str) and value else None
        span = sum(int(n) * _MICROSECONDS[unit] for unit, n in match.groupdict().items() if n) if match else -1
    if not 0 <= span <= _LONGEST:
        raise DeclarationError(
            f"expected a duration: whole numbers with the units w, d, h, m, s, ms in this order, such as '90m', '12h', "
            f"'3d' or '1h30m', or a timedelta, not negative and at most 36,000 years; got {value!r}"
        )
    return span
