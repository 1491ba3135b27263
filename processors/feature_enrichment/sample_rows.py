"""Made-up rows of any schema, to try expressions on before there are events."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from math import gcd
from typing import Any

import pyarrow as pa

from tidemill.processors.feature_enrichment.columns import plain_type

_WHOLE = (0, 1, -1, 2, 3, 5, 7, 12, 23, 60, 100, -40, 86, 120, 11, 4)
_TEXTS = ("", "a", "B", "EWR", "N14228", "7", "-12", "2.5", "2013-01-01", "01/02/2013", "2013-01-01 05:15:00",
          "2013-01-01T05:15:00Z", "2013-02-03T04:05:06+01:00", "12:30", "true", '{"a": 1}', "x y", "é")  # fmt: skip
_DAYS = (0, 1, 15_706, 15_737, 19_789, -365, 20_000)
_NULL_EVERY = 11


def sample_rows(schema: pa.Schema, rows: int) -> pa.Table:
    """This many rows, always the same ones; with repeated values, and nulls where the schema allows them.

    Columns walk through their values at different paces, so that each meets all of another's.
    """
    columns = []
    for c, field in enumerate(schema):
        kind = plain_type(field.type)
        pool = _pool(kind)
        # A pace that has no factor in common with the pool's length visits all of it.
        pace = next(p for p in range(c + 1, c + 2 + len(pool)) if gcd(p, len(pool)) == 1)
        values = [pool[(row * pace + row // len(pool) + c) % len(pool)] for row in range(rows)]
        if field.nullable:
            values = [None if (row + c) % _NULL_EVERY == 4 else value for row, value in enumerate(values)]
        columns.append(pa.array(values, kind))
    return pa.table(columns, schema=pa.schema([field.with_type(plain_type(field.type)) for field in schema]))


def _pool(kind: pa.DataType) -> list[Any]:
    """Values of a type."""
    is_ = pa.types
    if is_.is_integer(kind):
        return [abs(n) if is_.is_unsigned_integer(kind) else n for n in _WHOLE]
    if is_.is_floating(kind):
        return [n * 0.75 for n in _WHOLE] + [0.1, 1e-9, -3e7, 2013.0]
    if is_.is_decimal(kind):
        return [Decimal(n % 10).scaleb(-kind.scale) for n in _WHOLE]
    if is_.is_boolean(kind):
        return [True, False, True]
    if is_.is_timestamp(kind):
        start = datetime.fromisoformat("1970-01-01T00:00:00" + ("+00:00" if kind.tz else ""))
        return [start + timedelta(days=d, minutes=m) for d, m in zip(_DAYS, _WHOLE, strict=False)]
    if is_.is_date(kind):
        return [date(1970, 1, 1) + timedelta(days=d) for d in _DAYS]
    if is_.is_time(kind):
        return [(datetime(1970, 1, 1) + timedelta(minutes=m)).time() for m in (0, 1, 315, 725, 1439)]  # noqa: DTZ001
    if is_.is_duration(kind):
        return [timedelta(minutes=m) for m in _WHOLE]
    if is_.is_string(kind) or is_.is_large_string(kind) or is_.is_string_view(kind):
        return list(_TEXTS)
    if is_.is_fixed_size_binary(kind):
        return [bytes([n % 256]) * kind.byte_width for n in _WHOLE]
    if is_.is_binary(kind) or is_.is_large_binary(kind):
        return [text.encode() for text in _TEXTS]
    if is_.is_list(kind) or is_.is_large_list(kind):
        inner = _pool(kind.value_type)
        return [[], inner[:1], inner[1:3], inner[:5]]
    if is_.is_map(kind):
        inner = _pool(kind.item_type)
        return [[], [("a", inner[0])], [("b", inner[1]), ("a", inner[0])]]
    if is_.is_struct(kind):
        pools = {field.name: _pool(field.type) for field in kind}
        return [{name: pool[n % len(pool)] for name, pool in pools.items()} for n in range(7)]
    return [None]
