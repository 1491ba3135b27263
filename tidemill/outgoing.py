"""Rows on their way to a topic: checked against the contract, encoded, keyed."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from tidemill.processors.sanity_check.constraints import ContractCheck
from tidemill.schemas.codec import Codec
from tidemill.schemas.codec.rows import to_columns
from tidemill.schemas.contract import Contract
from tidemill.schemas.derived import GUIDELINES_FIELD, GUIDELINES_HEADER
from tidemill.schemas.errors import EncodeError
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.ports import Headers

Rows: TypeAlias = Iterable[Mapping[str, Any]] | pa.Table


class Outgoing:
    """Makes the messages of one contract; constraints are checked before anything is encoded.

    `key` names the fields of the record's key, by default those that the contract names: a pipeline's events by their
    key, labels by the event's id. Several make a JSON list, so that no two keys are written alike.
    """

    def __init__(
        self, contract: Contract, schemas: SchemaSource, *, key: Sequence[str] = (), prefix: bytes | None = None
    ) -> None:
        roles = contract.schema.get("tidemill", {})
        self._contract, self._key = contract, tuple(key) or (roles.get("key") or roles["id"],)
        guidelines = roles.get("guidelines", {}).get("version")
        in_field = GUIDELINES_FIELD in contract.arrow.names
        self._version = guidelines if in_field else None
        in_header = guidelines is not None and not in_field
        self.headers: Headers | None = [(GUIDELINES_HEADER, guidelines.encode())] if in_header else None
        """What goes out with every record: the guidelines' version of labels that have no field for it."""
        self._codec, self._check = Codec(contract, schemas, prefix), ContractCheck(contract)

    def messages(self, given: Rows) -> list[tuple[bytes | None, bytes]]:
        """Key and value of each row, given as mappings or as a table with the contract's columns.

        Raises:
            EncodeError: a row does not fit the contract; it is named.

        """
        if not isinstance(given, pa.Table):
            default = {} if self._version is None else {GUIDELINES_FIELD: self._version}
            given = to_columns(self._contract, [{**default, **row} for row in given])
        if self._version is not None:
            place = given.schema.get_field_index(GUIDELINES_FIELD)
            given = given.set_column(place, GUIDELINES_FIELD, given[GUIDELINES_FIELD].fill_null(self._version))
        for fault in self._check.faults(given):
            raise EncodeError(f"{self._contract.name}, row {fault.row}: {fault.message}")
        return list(zip(self.keys(given), self._codec.encode(given), strict=True))

    def keys(self, given: pa.Table) -> Iterator[bytes | None]:
        """The rows' record keys."""
        if len(self._key) == 1:
            return (None if value is None else str(value).encode() for value in given[self._key[0]].to_pylist())
        return (
            json.dumps(list(row.values()), default=str).encode() for row in given.select(list(self._key)).to_pylist()
        )
