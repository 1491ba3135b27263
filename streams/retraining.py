"""Triggers on P.retrain-triggers, requests on P.retrain-requests, jobs on P.training-jobs: rows, and their records."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from tidemill.processors.retraining import Request, Trigger
from tidemill.schemas.builtin import RETRAIN_REQUEST, RETRAIN_TRIGGER, TRAINING_JOB
from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.ports import Headers, LogRecord

REQUESTS, TRIGGERS, JOBS = "retrain-requests", "retrain-triggers", "training-jobs"
"""The topics, by suffix."""
ENDED = frozenset({"succeeded", "refused", "failed", "cancelled"})
"""The states that no job comes back from."""
_MOST_EVIDENCE = 256 * 1024
Message = tuple[bytes, bytes, Headers]


class Records:
    """Rows of one contract as records of a topic, with CloudEvents' headers, and back."""

    def __init__(self, contract: Contract, kind: str) -> None:
        self._codec, self._kind = Codec(contract, KnownSchemas([contract])), kind

    def encode(self, row: Mapping[str, Any], name: str, state: str, at: datetime) -> Message:
        """Key, value and headers; `name` is the same when the record is written again."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": name,
            "ce_source": f"/tidemill/{row.get('pipeline', '')}",
            "ce_type": f"tidemill.{self._kind}.{state}",
            "ce_subject": row["id"],
            "ce_time": at.isoformat().replace("+00:00", "Z"),
            "content-type": "application/avro",
        }
        value = self._codec.encode_rows([row])[0]
        return row["id"].encode(), value, [(key, text.encode()) for key, text in headers.items()]

    def decode(self, values: Sequence[bytes | None]) -> list[dict[str, Any] | None]:
        """The row of each value; None for what is none."""
        decoded = self._codec.decode(values)
        rows: list[dict[str, Any] | None] = [None] * len(values)
        for place, row in enumerate(decoded.rows.tolist()):
            try:
                (rows[row],) = decoded.table.slice(place, 1).to_pylist()
            except (ValueError, OverflowError):  # a time that no calendar holds
                continue
        return rows


_requests, _triggers = Records(RETRAIN_REQUEST, "retrain_request"), Records(RETRAIN_TRIGGER, "retrain_trigger")
_jobs = Records(TRAINING_JOB, "training_job")


def trigger_row(pipeline: str, trigger: Trigger) -> dict[str, Any]:
    """A trigger as a row of `schemas/retrain_trigger.avsc`."""
    evidence = json.dumps(trigger.evidence, sort_keys=True)
    return {
        "id": trigger.id,
        "pipeline": pipeline,
        "state": "fired" if trigger.fired else "suppressed",
        "cause": trigger.cause,
        "at": _time(trigger.at),
        "since": None if trigger.since is None else _time(trigger.since),
        "reference": trigger.reference,
        "suppressed_by": trigger.suppressed_by,
        "reason": trigger.reason,
        "who": trigger.who,
        "evidence": evidence if len(evidence) <= _MOST_EVIDENCE else "{}",
    }


def encode_trigger(row: Mapping[str, Any]) -> Message:
    """Key, value and headers of a trigger."""
    return _triggers.encode(row, row["id"], row["state"], row["at"])


def decode_triggers(values: Sequence[bytes | None]) -> list[dict[str, Any] | None]:
    """The rows of triggers; None for what is none."""
    return _triggers.decode(values)


def encode_request(row: Mapping[str, Any], now: datetime) -> Message:
    """Key, value and headers of a request."""
    return _requests.encode(row, row["id"], row["action"], now)


def decode_requests(values: Sequence[bytes | None]) -> list[dict[str, Any] | None]:
    """The rows of requests; None for what is none."""
    return _requests.decode(values)


def request_of(record: LogRecord) -> Request | Literal["unreadable"] | None:
    """The request for a model that a record is; None if it is another one."""
    (row,) = decode_requests([record.value])
    if row is None:
        return "unreadable"
    if row["action"] != "retrain":
        return None
    since = None if row["since"] is None else round(row["since"].timestamp() * 1000)
    return Request(row["id"], row["who"], row["reason"], since, record.offset)


def encode_job(row: Mapping[str, Any]) -> Message:
    """Key, value and headers of how a job stands."""
    name = f"{row['id']}.{row['attempt']}.{row['state']}.{row['step']}.{row['progress']:.3f}"
    return _jobs.encode(row, name, row["state"], row["at"])


def decode_jobs(values: Sequence[bytes | None]) -> list[dict[str, Any] | None]:
    """The rows of jobs; None for what is none."""
    return _jobs.decode(values)


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
