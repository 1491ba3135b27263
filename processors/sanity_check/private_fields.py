"""Private fields end here: what later stages see of an event has none of them, or a keyed hash in their place.

The hash is HMAC-SHA256 (RFC 2104) of the value as text in UTF-8, numbers in decimal, its first 32 hexadecimal digits.
Who has the key can make it elsewhere, in any language, to join; without the key a value cannot be tried out.
"""

import hmac
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import DeclarationError, nearest

HEX_DIGITS = 32
"""128 bits: two of a thousand million values have one hash with a probability of 1.5e-21."""
Digest = Callable[[bytes], str]


@dataclass(frozen=True)
class Hashed:
    """A private field that later stages see as its keyed hash; made by `hashed`."""

    field: str


def hashed(field: str) -> Hashed:
    """Let later stages have a private field's keyed hash, by which windows and lookups can be kept.

    >>> hashed("card")
    Hashed(field='card')
    """
    return Hashed(field)


def keyed_hash(key: bytes) -> Digest:
    """The hash of a value's bytes under this key.

    >>> keyed_hash(b"a key of sixteen")(b"4711")
    'f0e62a41c0071b8cec908cee452f5721'
    """
    return lambda value: hmac.digest(key, value, "sha256").hex()[:HEX_DIGITS]


def hash_keys(keys: Sequence[bytes | None], digest: Digest) -> list[bytes | None]:
    """Keys of records with hashes in their place: the same as of the field, where a key is the field's text."""
    return [None if key is None else digest(key).encode() for key in keys]


@dataclass(frozen=True)
class PrivateFields:
    """Which fields of an event are private: those `dropped`, and those of which a hash goes on."""

    dropped: tuple[str, ...] = ()
    hashed: tuple[str, ...] = ()

    @classmethod
    def of(cls, contract: Contract, given: Iterable[str | Hashed], *, key: str, fixed: Collection[str]) -> Self:
        """From what the contract marks and what is declared; a private `key` is hashed. `fixed` must not be private.

        Raises:
            DeclarationError: there is no such field, or it cannot be private or hashed.

        """
        names = [field.name for field in contract.fields]
        declared = list(given)
        wanted = {each.field for each in declared if isinstance(each, Hashed)}
        private = {field.name for field in contract.fields if field.private} | wanted
        private |= {each for each in declared if isinstance(each, str)}
        for name in sorted(private):
            if name not in names:
                raise DeclarationError(f"private: {contract.name} has no field {name!r}{nearest(name, names)}")
            if name in fixed:
                raise DeclarationError(
                    f"{contract.name}.{name} is the events' id or time, which go with every prediction, and cannot be"
                    " private: let the producer send a random id"
                )
        wanted |= private & {key}
        for name in sorted(wanted):
            kind = contract.field(name).arrow
            if not (pa.types.is_string(kind) or pa.types.is_integer(kind)):
                raise DeclarationError(f"{contract.name}.{name}: expected text or an integer to hash, got {kind}")
        return cls(
            tuple(name for name in names if name in private - wanted), tuple(name for name in names if name in wanted)
        )

    def __bool__(self) -> bool:
        return bool(self.dropped or self.hashed)

    @property
    def names(self) -> frozenset[str]:
        """All of them."""
        return frozenset((*self.dropped, *self.hashed))

    def marked(self, contract: Contract) -> Contract:
        """The event's contract as it is published: it tells producers which fields are private."""
        if not self:
            return contract
        return Contract.parse(
            {
                **contract.schema,
                "fields": [
                    {**field, "private": True} if field["name"] in self.names else field
                    for field in contract.schema["fields"]
                ],
            }
        )

    def shown(self, contract: Contract) -> Contract:
        """What later stages see: dropped fields are gone, hashed ones are text."""
        if not self:
            return contract
        return Contract.parse(
            {
                **contract.schema,
                "fields": [
                    _text(contract, field["name"]) if field["name"] in self.hashed else field
                    for field in contract.schema["fields"]
                    if field["name"] not in self.dropped
                ],
            }
        )

    def hide(self, table: pa.Table, digest: Digest | None) -> pa.Table:
        """The rows as later stages see them; without a `digest` there must be nothing to hash."""
        if self.dropped:
            table = table.drop_columns(list(self.dropped))
        for name in self.hashed:
            assert digest is not None, "a stage that hashes is made with a key"
            place = table.schema.get_field_index(name)
            table = table.set_column(
                place, pa.field(name, pa.string(), table.schema.field(name).nullable), _hashes(table[name], digest)
            )
        return table


def _text(contract: Contract, name: str) -> dict[str, object]:
    nullable = contract.field(name).nullable
    return {
        "name": name,
        "type": ["null", "string"] if nullable else "string",
        **({"default": None} if nullable else {}),
        "doc": f"The keyed hash of the event's private field {name}.",
    }


def _hashes(column: pa.ChunkedArray, digest: Digest) -> pa.Array:
    """Each value that occurs is hashed once."""
    encoded = pc.cast(column, pa.string()).combine_chunks().dictionary_encode()
    made = pa.array([digest(value.encode()) for value in encoded.dictionary.to_pylist()], pa.string())
    return made.take(encoded.indices)
