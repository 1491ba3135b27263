import uuid

import pytest

from tidemill.schemas.framing import VALUE_SCHEMA_ID, Confluent, Frame, FrameKind, SingleObject, parse

FINGERPRINT = bytes(range(8))
GUID = uuid.UUID("89791762-2336-4186-9674-299b90a802e2")


def test_what_is_written_is_read():
    assert parse(SingleObject(FINGERPRINT).prefix + b"x") == Frame(FrameKind.FINGERPRINT, FINGERPRINT, 10)
    assert parse(Confluent(258).prefix + b"x") == Frame(FrameKind.ID, 258, 5)
    assert Confluent(258).prefix == b"\x00\x00\x00\x01\x02"
    assert SingleObject(FINGERPRINT).prefix == b"\xc3\x01" + FINGERPRINT


def test_a_datum_may_be_empty():
    assert parse(SingleObject(FINGERPRINT).prefix) == Frame(FrameKind.FINGERPRINT, FINGERPRINT, 10)
    assert parse(Confluent(1).prefix) == Frame(FrameKind.ID, 1, 5)


@pytest.mark.parametrize(
    "value",
    [b"", b"\xc3", b"\xc3\x01", b"\xc3\x01" + FINGERPRINT[:7], b"\x00\x00\x00\x01", b"{}", b"\xc3\x02" + FINGERPRINT],
)
def test_anything_else_has_no_framing(value):
    assert parse(value) is None


@pytest.mark.parametrize(
    ("content", "frame"),
    [
        (b"\x01" + GUID.bytes, Frame(FrameKind.GUID, GUID.bytes, 0)),
        (b"\x00\x00\x00\x00\x07", Frame(FrameKind.ID, 7, 0)),
        (b"\x01" + GUID.bytes[:15], None),
        (b"\x00\x00", None),
        (b"\x02" + GUID.bytes, None),
        (b"", None),
        (None, None),
    ],
)
def test_a_header_decides_alone(content, frame):
    headers = [("trace", b"1"), (VALUE_SCHEMA_ID, content), (VALUE_SCHEMA_ID, b"\x00\x00\x00\x00\x09")]
    assert parse(b"datum", headers) == frame
    assert parse(Confluent(1).prefix, headers) == frame


def test_other_headers_do_not_matter():
    assert parse(Confluent(3).prefix, [("__key_schema_id", b"\x00\x00\x00\x00\x09")]) == Frame(FrameKind.ID, 3, 5)


def test_it_agrees_with_confluents_own_client():
    serde = pytest.importorskip("confluent_kafka.schema_registry.serde")
    known = serde.SchemaId("AVRO", 258, str(GUID))
    assert known.id_to_bytes() == Confluent(258).prefix
    assert parse(b"", [(VALUE_SCHEMA_ID, known.guid_to_bytes())]) == Frame(FrameKind.GUID, GUID.bytes, 0)


def test_a_frame_is_printed_by_what_it_names():
    assert str(Frame(FrameKind.GUID, GUID.bytes, 0)) == f"guid {GUID.hex}"
    assert str(Frame(FrameKind.ID, 7, 5)) == "id 7"
