"""A contract: an Avro record schema, as bytes, as columns, and as rules for values."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as attribute
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from tidemill.schemas import avsc, constraints
from tidemill.schemas.avsc import Node
from tidemill.schemas.canonical import canonical_form, fingerprint
from tidemill.schemas.columns import arrow_type, split_null
from tidemill.schemas.constraints import Constraints
from tidemill.schemas.defaults import default_value
from tidemill.schemas.errors import SchemaError, nearest


@dataclass(frozen=True)
class Field:
    """One field of a contract. `avro` is its type in JSON and `default` its default in JSON, None without one."""

    name: str
    avro: Any
    nullable: bool
    arrow: pa.DataType
    constraints: Constraints
    doc: str
    aliases: tuple[str, ...]
    has_default: bool
    default: Any
    private: bool = False
    """Whether its values are nobody's but the producer's to see: `"private": true` beside the field's name."""
    node: Node = attribute(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Contract:
    """An Avro record schema. Equal when the text is.

    >>> contract = Contract.parse({"type": "record", "name": "Tide", "namespace": "sea", "fields": [
    ...     {"name": "height", "type": "double", "constraints": {"minimum": 0}}]})
    >>> contract.name, contract.fingerprint_hex, contract.field("height").constraints.minimum
    ('sea.Tide', 'd6bd5ba87999265f', 0)
    >>> contract.field("heigth")
    Traceback (most recent call last):
    tidemill.schemas.errors.SchemaError: sea.Tide has no field 'heigth'; did you mean 'height'?
    """

    text: str
    """Compact JSON with all that was declared: doc, constraints, other properties. This is what gets published."""
    schema: dict[str, Any] = attribute(compare=False, repr=False)
    """The JSON; not to be changed."""
    node: Node = attribute(compare=False, repr=False)
    where: str = attribute(compare=False, repr=False)
    source: str = attribute(compare=False, repr=False)

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read an `.avsc` file; raises SchemaError with its path, the position and the field where it is malformed."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as fault:
            raise SchemaError(f"{path}: cannot be read as a schema: {fault}") from None
        return cls._parse(text, str(path))._checked()

    @classmethod
    def parse(cls, source: str | Mapping[str, Any]) -> Self:
        """Read a schema from text or JSON; raises SchemaError with the position and the field where it is malformed."""
        return cls.writer(source)._checked()

    @classmethod
    def writer(cls, source: str | Mapping[str, Any]) -> Self:
        """Read someone else's schema, to read what they wrote.

        It has to be Avro, but may have fields that do not fit into columns and constraints of its own meaning:
        `fields`, `arrow` and `constraints` raise SchemaError then.
        """
        return cls._parse(source, "the schema")

    @classmethod
    def _parse(cls, source: str | Mapping[str, Any], where: str) -> Self:
        text = source if isinstance(source, str) else ""
        schema = avsc.read(source, where)
        node = avsc.parse(schema, where, text)
        return cls(json.dumps(schema, separators=(",", ":"), ensure_ascii=False), schema, node, where, text)

    def _checked(self) -> Self:
        assert self.fields is not None
        return self

    @property
    def name(self) -> str:
        """The record's full name."""
        return str(self.node.fullname)

    @cached_property
    def canonical(self) -> str:
        """Avro's Parsing Canonical Form: contracts that share it read and write the same bytes."""
        return canonical_form(self.node)

    @cached_property
    def fingerprint(self) -> bytes:
        """CRC-64-AVRO of the canonical form: 8 bytes, little-endian as in the single-object encoding."""
        return fingerprint(self.canonical)

    @property
    def fingerprint_hex(self) -> str:
        """The fingerprint's 8 bytes in hex, in the order in which they stand in a message."""
        return self.fingerprint.hex()

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The fields in the order in which they are written; raises SchemaError when one does not fit into columns."""
        if not self.node.fields:
            raise SchemaError(f"{self.where}: {self.name} has no fields; a table needs one to have rows")
        return tuple(
            self._field(field, raw) for field, raw in zip(self.node.fields, self.schema["fields"], strict=True)
        )

    @cached_property
    def arrow(self) -> pa.Schema:
        """The columns: `columns` has the table of types."""
        return pa.schema([pa.field(field.name, field.arrow, field.nullable) for field in self.fields])

    @property
    def constraints(self) -> dict[str, Constraints]:
        """The constraints by field name, of the fields that have any."""
        return {field.name: field.constraints for field in self.fields if field.constraints}

    def field(self, name: str) -> Field:
        """The field called `name`; raises SchemaError if there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise SchemaError(f"{self.name} has no field {name!r}{nearest(name, (f.name for f in self.fields))}")

    def _field(self, field: Any, raw: dict[str, Any]) -> Field:
        try:
            inner, nullable = split_null(field.type)
            if _has_constraints(raw["type"]):
                raise SchemaError(
                    '"constraints" stands beside the "name" of a field of the record, not inside its type'
                )
            if field.has_default:
                default_value(field.type, field.default)
            aliases = raw.get("aliases", [])
            if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
                raise SchemaError(f"aliases: expected a list of names; got {aliases!r}")
            if not isinstance(raw.get("private", False), bool):
                raise SchemaError(f"private: expected true or false; got {raw['private']!r}")
            return Field(
                name=field.name,
                avro=raw["type"],
                nullable=nullable,
                arrow=arrow_type(field.type)[0],
                constraints=constraints.parse(raw.get("constraints", {}), inner),
                doc=str(raw.get("doc", "")),
                aliases=tuple(aliases),
                has_default=field.has_default,
                default=field.default,
                private=raw.get("private", False),
                node=field.type,
            )
        except SchemaError as fault:
            raise SchemaError(f"{avsc.place(self.where, field.name, self.source)}: {fault}") from None


def _has_constraints(avro: Any) -> bool:
    if isinstance(avro, dict):
        return "constraints" in avro or any(_has_constraints(part) for part in avro.values())
    return isinstance(avro, list) and any(_has_constraints(part) for part in avro)
