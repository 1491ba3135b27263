"""Contracts that follow from the event's own."""

from collections.abc import Mapping, Sequence
from typing import Any

from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import SchemaError

SOURCE_FIELDS = (
    {"name": "source_partition", "type": "int", "doc": "The partition of the event on the events topic."},
    {"name": "source_offset", "type": "long", "doc": "The offset of the event on the events topic."},
)


def event_contract(contract: Contract, *, key: str, time: str, event_id: str) -> Contract:
    """The event contract as it is published: a property tells any producer which fields are key, time and id."""
    return Contract.parse({**contract.schema, "tidemill": {"key": key, "time": time, "id": event_id}})


GUIDELINES_FIELD, GUIDELINES_HEADER = "guidelines_version", "tidemill.guidelines_version"
"""Where a label says which guidelines it followed: in this field if its contract has one, else in this header."""


def label_contract(contract: Contract, event_id: str, guidelines: Mapping[str, str] | None = None) -> Contract:
    """The label contract as it is published: a property tells any producer which field names the event.

    `guidelines` ("version", and "text" if it is declared) stand there as well.
    """
    roles: dict[str, Any] = {"id": event_id}
    if guidelines:
        roles["guidelines"] = dict(guidelines)
    return Contract.parse({**contract.schema, "tidemill": roles})


def flagged_contract(contract: Contract, flags: Sequence[str]) -> Contract:
    """The event's fields, and a boolean for each check that flags the events which fail it."""
    added = [
        {"name": name, "type": "boolean", "default": False, "doc": "Whether the event fails this check."}
        for name in flags
    ]
    return Contract.parse({**contract.schema, "fields": [*contract.schema["fields"], *added]}) if added else contract


def validated_contract(contract: Contract) -> Contract:
    """The event's fields, and where the event stands on the events topic."""
    names = {field["name"] for field in contract.schema["fields"]}
    for field in SOURCE_FIELDS:
        if field["name"] in names:
            raise SchemaError(
                f"{contract.name}: the field name {field['name']!r} is taken by Tidemill; rename the field"
            )
    schema = {k: v for k, v in contract.schema.items() if k not in ("tidemill", "aliases")}
    return Contract.parse(
        {
            **schema,
            "name": f"{contract.schema['name']}Validated",
            "doc": f"A {contract.name} that passed the sanity check.",
            "fields": [*contract.schema["fields"], *SOURCE_FIELDS],
        }
    )
