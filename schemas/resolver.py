"""Where the schema of a message's writer is found."""

from collections.abc import Iterable
from typing import Protocol

from tidemill.schemas.contract import Contract


class SchemaSource(Protocol):
    """Finds a writer's schema by what a message calls it; None when there is none by that name (yet).

    A source may ask a server and raise `StreamError` when that fails; a codec lets it through, since the message is not
    to blame. It keeps what it has found: a codec asks once per batch for a name that stays unknown. Schemas of others
    are read with `Contract.writer`, which asks less of them than `Contract.parse`.
    """

    def by_fingerprint(self, fingerprint: bytes) -> Contract | None:
        """The schema with this CRC-64-AVRO fingerprint: 8 bytes, little-endian."""
        ...

    def by_id(self, schema_id: int) -> Contract | None:
        """The schema with this id in the schema registry."""
        ...

    def by_guid(self, guid: bytes) -> Contract | None:
        """The schema with this GUID in the schema registry: 16 bytes."""
        ...


class KnownSchemas:
    """The contracts that were given to it, by fingerprint; knows no registry ids."""

    def __init__(self, contracts: Iterable[Contract] = ()) -> None:
        self._contracts: dict[bytes, Contract] = {}
        for contract in contracts:
            self.add(contract)

    def add(self, contract: Contract) -> None:
        """Make `contract` known; one with the same fingerprint is replaced (it reads the same bytes)."""
        self._contracts[contract.fingerprint] = contract

    def by_fingerprint(self, fingerprint: bytes) -> Contract | None:
        """The contract that was added with this fingerprint."""
        return self._contracts.get(fingerprint)

    def by_id(self, schema_id: int) -> Contract | None:  # noqa: ARG002  (a registry's ids mean nothing here)
        """None: ids belong to a registry."""
        return None

    def by_guid(self, guid: bytes) -> Contract | None:  # noqa: ARG002  (a registry's GUIDs mean nothing here)
        """None: GUIDs belong to a registry."""
        return None
