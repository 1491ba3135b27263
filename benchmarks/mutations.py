"""Messages that go wrong in every way that we know, made of good payments; the same ones for the same seed."""

# ruff: noqa: ARG005 - every mutation is given the same
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import job
import numpy as np
import pyarrow as pa

from tidemill.schemas.codec import Codec
from tidemill.streams.ports import Headers

HUGE = bytes.fromhex("feffffffffffffffff01")
"""The length 2^63 - 1, as Avro writes it."""
BIG = 2 * 1024 * 1024
SCHEMA_ID = "__value_schema_id"


class Sent(NamedTuple):
    """One message, as a producer sends it."""

    key: bytes | None
    value: bytes | None
    headers: Headers | None = None


def _flipped(value: bytes, chance: random.Random) -> bytes:
    changed = bytearray(value)
    for _ in range(chance.randint(1, 8)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _put(value: bytes, chance: random.Random, piece: bytes) -> bytes:
    at = chance.randint(10, len(value))
    return value[:at] + piece + value[at + chance.randint(0, len(piece)) :]


Mutation = Callable[[bytes, bytes, random.Random], Sent]
BYTES: dict[str, Mutation] = {
    "bit flips": lambda key, value, chance: Sent(key, _flipped(value, chance)),
    "bit flips in the datum": lambda key, value, chance: Sent(key, value[:10] + _flipped(value[10:], chance)),
    "truncated": lambda key, value, chance: Sent(key, value[: chance.randrange(len(value))]),
    "surplus": lambda key, value, chance: Sent(key, value + chance.randbytes(chance.randint(1, 30))),
    "unknown schema": lambda key, value, chance: Sent(key, value[:2] + chance.randbytes(8) + value[10:]),
    "huge length": lambda key, value, chance: Sent(key, _put(value, chance, HUGE)),
    "overlong number": lambda key, value, chance: Sent(key, _put(value, chance, b"\xff" * 12)),
    "invalid UTF-8": lambda key, value, chance: Sent(
        key, value[:11] + chance.choice([b"\xff\xfe", b"\xed\xa0\x80", b"\xc0\x80"]) + value[13:]
    ),
    "key of any bytes": lambda key, value, chance: Sent(chance.randbytes(12), value),
    "no key": lambda key, value, chance: Sent(None, value),
    "empty": lambda key, value, chance: Sent(key, b""),
    "tombstone": lambda key, value, chance: Sent(key, None),
    "random": lambda key, value, chance: Sent(key, chance.randbytes(chance.randint(1, 200))),
    "JSON": lambda key, value, chance: Sent(key, b'{"payment_id": "p1", "amount": 1e400}'),
    "id of a registry": lambda key, value, chance: Sent(key, b"\x00" + chance.randbytes(4) + value[10:]),
    "strange headers": lambda key, value, chance: Sent(
        key,
        value,
        [
            (
                chance.choice([SCHEMA_ID, "tidemill.retry.stage", "tidemill.retry.attempt", "__streams.errors.offset"]),
                chance.choice(
                    [None, b"", b"\x00\x00\x00\x00\x07", b"\x01" + b"g" * 16, chance.randbytes(9), b"1" * 99]
                ),
            )
        ],
    ),
}
RARE: dict[str, Mutation] = {
    "oversized key": lambda key, value, chance: Sent(key * (BIG // len(key)), value),
    "oversized value": lambda key, value, chance: Sent(key, value + bytes(BIG)),
}
"""They take a copy of two megabytes each: one bad message in a thousand."""
_EXTREMES = [-(2**63), 2**63 - 1, 253402300800_000_000, -62135596800_000_001, 0]
COLUMNS = {
    "not finite": ("amount", [float("nan"), float("inf"), float("-inf")]),
    "too small": ("amount", [-1.0, -1e308, -5e-324]),
    "out of the calendar": ("paid_at", _EXTREMES),
    "duplicate id": ("payment_id", ["p000000000000", ""]),
    "not in the set": ("channel", ["WEB", "", "\x00", "\U0001f600"]),
    "below the minimum": ("items", [0, -(2**31)]),
    "refused by a check": ("points", [-1, -(2**63)]),
    "not in the table": ("store", [-1, 2**31 - 1]),
}


def payments(codec: Codec, first: int, count: int, share: float, others: Sequence[bytes] = ()) -> list[Sent]:
    """Payments from number `first` on, of which about a `share` is mutated.

    `codec` writes payments; `others` are the prefixes of further schemas that readers know and payments are not of.
    """
    chance, table = random.Random(first), job.payments(first, count)
    kinds = [*BYTES, *COLUMNS, *(["foreign schema"] if others else [])]
    chosen = [
        None
        if chance.random() >= share
        else chance.choice(list(RARE))
        if chance.random() < 0.001
        else chance.choice(kinds)
        for _ in range(count)
    ]
    messages: list[Sent] = []
    keys = [text.encode() for text in table["card"].to_pylist()]
    for key, value, kind in zip(keys, codec.encode(_columns(table, chosen, chance)), chosen, strict=True):
        mutation = BYTES.get(str(kind)) or RARE.get(str(kind))
        if mutation is not None:
            messages.append(mutation(key, value, chance))
        elif kind == "foreign schema":
            messages.append(Sent(key, chance.choice(others) + value[10:]))
        else:
            messages.append(Sent(key, value))
    return messages


def _columns(table: pa.Table, chosen: Sequence[str | None], chance: random.Random) -> pa.Table:
    for kind, (name, bad) in COLUMNS.items():
        rows = [row for row, this in enumerate(chosen) if this == kind]
        if rows:
            mask = np.zeros(len(table), dtype=bool)
            mask[rows] = True
            field = table.schema.field(name)
            wrong = pa.array([chance.choice(bad) for _ in rows], field.type)
            column = pa.compute.replace_with_mask(table[name].combine_chunks(), pa.array(mask), wrong)
            table = table.set_column(table.schema.get_field_index(name), field, column)
    return table
