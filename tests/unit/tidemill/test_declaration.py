import json

import polars as pl
import pytest

import tidemill as tm
from tidemill.declaration import as_contract
from tidemill.schemas.errors import SchemaError

FLOOD = {
    "type": "record",
    "name": "Flood",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "over", "type": "int"},
        {"name": "grade", "type": "string"},
    ],
}


def test_a_contract_may_be_given_in_any_form(tmp_path):
    (tmp_path / "flood.avsc").write_text(json.dumps(FLOOD))
    forms = [FLOOD, tm.Contract.parse(FLOOD), "flood.avsc", tmp_path / "flood.avsc", str(tmp_path / "flood.avsc")]
    assert len({as_contract(form, tmp_path).text for form in forms}) == 1


def test_a_contract_that_is_missing_is_named_with_its_path(tmp_path):
    with pytest.raises(SchemaError, match=str(tmp_path / "gone.avsc")):
        as_contract("gone.avsc", tmp_path)


@pytest.mark.parametrize(
    ("label", "classes", "expected"),
    [
        (pl.col("over") > 0, None, (False, True)),
        (pl.col("over"), None, ()),
        (pl.col("over") / 2, None, ()),
        (pl.col("over"), [0, 1, 2], (0, 1, 2)),
        (pl.col("grade"), ["low", "high"], ("low", "high")),
    ],
)
def test_the_classes_of_a_label(label, classes, expected):
    labels = tm.Labels(FLOOD, id="id", label=label, classes=classes)
    assert labels.target_classes(tm.Contract.parse(FLOOD)) == expected


def test_the_parts_of_a_declaration_do_not_change():
    with pytest.raises(AttributeError):
        tm.Events(FLOOD, key="id", time="at", id="id").key = "other"


@pytest.mark.parametrize(
    ("wait", "said"), [("61s", "expected at most 60 s, got '61s'"), ("soon", "expected a duration")]
)
def test_a_schema_is_not_waited_for_for_ever(wait, said):
    reading = {
        **FLOOD,
        "fields": [*FLOOD["fields"], {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}}],
    }
    events = tm.Events(reading, key="id", time="at", id="id", schema_wait=wait)
    with pytest.raises(tm.DeclarationError, match=said):
        tm.Pipeline("floods", events).plan()
