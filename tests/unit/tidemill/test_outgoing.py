import pyarrow as pa
import pytest

import tidemill as tm
from tidemill.outgoing import Outgoing
from tidemill.schemas.codec import Codec
from tidemill.schemas.derived import event_contract, label_contract
from tidemill.schemas.resolver import KnownSchemas

READING = tm.Contract.parse(
    {
        "type": "record",
        "name": "Reading",
        "fields": [
            {"name": "id", "type": "long"},
            {"name": "station", "type": ["null", "string"], "default": None},
            {"name": "height", "type": "double", "constraints": {"minimum": 0}},
        ],
    }
)


def test_events_are_keyed_by_their_key_and_labels_by_the_events_id():
    events = Outgoing(event_contract(READING, key="station", time="id", event_id="id"), KnownSchemas())
    rows = [{"id": 7, "station": "a", "height": 1.0}, {"id": 8, "height": 2.0}]
    assert [key for key, _ in events.messages(rows)] == [b"a", None]
    labels = Outgoing(label_contract(READING, "id"), KnownSchemas())
    assert [key for key, _ in labels.messages(rows)] == [b"7", b"8"]


def test_several_key_fields_cannot_be_mistaken_for_others():
    outgoing = Outgoing(READING, KnownSchemas(), key=["id", "station"])
    rows = [{"id": 1, "station": '1,"2', "height": 0.0}, {"id": 1, "height": 0.0}]
    assert [key for key, _ in outgoing.messages(rows)] == [b'[1, "1,\\"2"]', b"[1, null]"]


def test_rows_and_tables_make_the_same_messages():
    outgoing = Outgoing(READING, KnownSchemas(), key=["id"])
    rows = [{"id": 7, "station": "a", "height": 1.0}]
    table = pa.Table.from_pylist(rows, READING.arrow)
    assert outgoing.messages(rows) == outgoing.messages(table) == outgoing.messages(iter(rows))
    assert Codec(READING, KnownSchemas()).decode([outgoing.messages(rows)[0][1]]).table.to_pylist() == rows


def test_what_breaks_the_contract_is_named():
    outgoing = Outgoing(READING, KnownSchemas(), key=["id"])
    with pytest.raises(tm.EncodeError, match=r"Reading, row 1: expected height at least 0, got height=-1\.0"):
        outgoing.messages([{"id": 7, "height": 1.0}, {"id": 7, "height": -1.0}])
    with pytest.raises(tm.EncodeError, match="Reading, row 0, field 'id'"):
        outgoing.messages([{"id": "x", "height": 1.0}])


def test_a_prefix_of_a_registry_comes_first():
    outgoing = Outgoing(READING, KnownSchemas(), key=["id"], prefix=b"\x00\x00\x00\x00\x07")
    assert outgoing.messages([{"id": 7, "height": 1.0}])[0][1].startswith(b"\x00\x00\x00\x00\x07")
