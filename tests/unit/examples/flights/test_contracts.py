import json
from pathlib import Path

import pytest
from fastavro import parse_schema

from tidemill.examples import flights

FOLDER = Path(flights.__file__).parent
WORDS = {"required", "minimum", "maximum", "enum", "pattern", "minLength", "maxLength"}


@pytest.mark.parametrize("name", ["departure", "arrival"])
def test_contract_is_avro_with_docs_and_known_constraint_words(name: str) -> None:
    schema = json.loads((FOLDER / f"{name}.avsc").read_text())
    parse_schema(schema)
    assert schema["namespace"] == "flights"
    for field in [schema, *schema["fields"]]:
        assert field["doc"].endswith(".")
        assert set(field.get("constraints", {})) <= WORDS


def test_a_cancelled_flight_is_a_sound_event() -> None:
    fields = json.loads((FOLDER / "departure.avsc").read_text())["fields"]
    assert [f["name"] for f in fields if f.get("constraints", {}).get("required")] == []
    assert [f["name"] for f in fields if isinstance(f["type"], list)] == ["tail_number", "departure_delay"]
