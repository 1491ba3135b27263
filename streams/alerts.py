"""Incidents as records on P.drift-alerts, and people's actions on P.alert-actions."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from tidemill.processors.drift.incident import Action, Incident
from tidemill.schemas.builtin import ALERT_ACTION, DRIFT_ALERT
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.ports import Headers

ALERTS, ACTIONS = "drift-alerts", "alert-actions"
"""The topics, by suffix."""
_MOST_EVIDENCE = 64 * 1024
_alerts = Codec(DRIFT_ALERT, KnownSchemas([DRIFT_ALERT]))
_actions = Codec(ALERT_ACTION, KnownSchemas([ALERT_ACTION]))


def alert_row(pipeline: str, incident: Incident) -> dict[str, Any]:
    """An incident as a row of `schemas/drift_alert.avsc`."""
    found = incident.alarm
    return {
        "id": incident.id,
        "revision": incident.revision,
        "state": incident.state,
        "pipeline": pipeline,
        "kind": found.kind,
        "subject": found.subject,
        "slice": found.slice,
        "detector": found.detector,
        "severity": found.severity,
        "statistic": found.statistic,
        "threshold": found.threshold,
        "effect": found.effect,
        "estimated": found.estimated,
        "window_start": _time(incident.span.start),
        "window_end": _time(incident.span.end),
        "offsets": [dict(zip(("partition", "first", "last"), each, strict=True)) for each in incident.offsets],
        "reference": found.reference,
        "opened_at": _time(incident.opened_at),
        "updated_at": _time(incident.updated_at),
        "muted": incident.muted,
        "acknowledged_by": incident.acknowledged_by,
        "note": incident.note,
        "message": found.message,
        "evidence": found.evidence if len(found.evidence) <= _MOST_EVIDENCE else "{}",
    }


def encode_alert(row: Mapping[str, Any]) -> tuple[bytes, bytes, Headers]:
    """Key, value and headers of an alert: CloudEvents 1.0 in the binary mode of its Kafka binding.

    `ce_id` names the record: it is the same when the record is written again.
    """
    headers = {
        "ce_specversion": "1.0",
        "ce_id": f"{row['id']}.{row['revision']}",
        "ce_source": f"/tidemill/{row['pipeline']}",
        "ce_type": f"tidemill.drift_alert.{row['state']}",
        "ce_subject": row["id"],
        "ce_time": row["updated_at"].isoformat().replace("+00:00", "Z"),
        "content-type": "application/avro",
    }
    return row["id"].encode(), _alerts.encode_rows([row])[0], [(name, text.encode()) for name, text in headers.items()]


def decode_alerts(values: Sequence[bytes | None]) -> list[dict[str, Any]]:
    """The rows of alerts; what is none is passed over."""
    return _rows(_alerts, values)


def encode_action(row: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Key and value of an action."""
    facet = "acknowledge" if row["action"] == "acknowledge" else "mute"
    return f"{row['id']}|{facet}".encode(), _actions.encode_rows([row])[0]


def decode_action(value: bytes | None, place: int) -> Action | None:
    """The action that stands at this offset; None if it is none."""
    rows = _rows(_actions, [value])
    if not rows:
        return None
    (row,) = rows
    until = None if row["until"] is None else round(row["until"].timestamp() * 1000)
    return Action(row["id"], row["action"], row["who"], until, row["reason"], place)


def _rows(codec: Codec, values: Sequence[bytes | None]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    table = codec.decode(values).table
    for place in range(table.num_rows):
        try:
            found += table.slice(place, 1).to_pylist()
        except (ValueError, OverflowError):  # a time that no calendar holds
            continue
    return found


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
