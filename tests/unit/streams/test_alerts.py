"""Incidents on the wire."""

from datetime import UTC, datetime

import pytest

from tidemill.processors.drift.incident import Alarm, Span
from tidemill.processors.drift.incidents import Incidents
from tidemill.streams.alerts import alert_row, decode_action, decode_alerts, encode_action, encode_alert


@pytest.fixture
def row():
    alarm = Alarm("data_drift", "amount", "", "psi", "critical", 0.4, 0.2, "PSI is 0.4", 0.4, False, "m1", '{"a": 1}')
    (incident,) = Incidents("shop").found(Span(1_000, 3_600_000), [alarm], ((2, 5, 9),))
    return alert_row("shop", incident)


def test_an_alert_is_a_cloud_event(row):
    key, value, headers = encode_alert(row)
    assert key == row["id"].encode()
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": f"{row['id']}.0".encode(),
        "ce_source": b"/tidemill/shop",
        "ce_type": b"tidemill.drift_alert.opened",
        "ce_subject": row["id"].encode(),
        "ce_time": b"1970-01-01T01:00:00Z",
        "content-type": b"application/avro",
    }
    assert decode_alerts([value]) == [row]
    assert row["offsets"] == [{"partition": 2, "first": 5, "last": 9}]


def test_what_is_no_alert_is_passed_over(row):
    value = encode_alert(row)[1]
    assert decode_alerts([b"x", None, value, value[:-3]]) == [row]


def test_too_much_evidence_is_left_out():
    alarm = Alarm("data_drift", "x", "", "psi", "warning", 1, 1, "", evidence=f'"{"x" * 70_000}"')
    (incident,) = Incidents("shop").found(Span(0, 1), [alarm])
    assert alert_row("shop", incident)["evidence"] == "{}"


def test_an_action_goes_there_and_back():
    until = datetime(2013, 3, 1, tzinfo=UTC)
    given = {"id": "a" * 16, "action": "mute", "who": "ann", "until": until, "reason": "storm"}
    key, value = encode_action(given)
    made = decode_action(value, 7)
    assert key == b"aaaaaaaaaaaaaaaa|mute"
    assert vars(made) == given | {"until": round(until.timestamp() * 1000), "place": 7}
    assert encode_action(given | {"action": "unmute"})[0] == key
    assert encode_action(given | {"action": "acknowledge"})[0] != key
    assert decode_action(b"no", 0) is None
