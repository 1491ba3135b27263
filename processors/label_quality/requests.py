"""Which events are to be labelled again, blind: nobody who labels them is told what was said before, or why."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from tidemill.processors.label_quality.answers import EVENT, TIME

AUDIT, DISPUTE, UNCERTAIN = "audit", "dispute", "uncertain"
_GOLD_SHARE = 0.1
"""One audit in ten is followed by a gold question."""
SCHEMA = {"request_id": pl.String, EVENT: pl.String, "why": pl.String, "asked_at": pl.Int64}


@dataclass(frozen=True)
class AuditRule:
    """What is asked again: a share `rate` of the events, drawn by `seed`, and what they are less than `sure` of."""

    pipeline: str
    rate: float
    seed: str
    sure: float
    guidelines_version: str | None = None


def in_sample(event_id: str, rate: float, seed: str) -> bool:
    """Whether an event is in a sample of this rate: always the same answer, and yes for every higher rate.

    >>> sum(in_sample(f"flight {n}", 0.1, "mill") for n in range(1000))
    101
    """
    return _fraction(seed, event_id) < rate


def label_requests(decided: pl.DataFrame, gold: Iterable[str], rule: AuditRule) -> pl.DataFrame:
    """What to ask, by event: the sample, events in dispute, and those that their annotators are not sure of.

    `decided` has a row per event, as from `consensus`, and `time`, that of the event's last label in microseconds.
    Columns: `request_id`, `event_id`, `why`, `asked_at` (that time). After one audit in ten comes one of the `gold`
    events, as an audit like any other: who can tell a test from work can pass tests and do the work badly.

    An id depends on the pipeline, the event, the reason and the guidelines' version; in a dispute also on how many have
    answered, so that it is asked again if another answer did not settle it. The same labels make the same requests.
    """
    questions = sorted(set(gold), key=lambda event: _fraction(rule.seed, "gold", event))
    rows: list[tuple[str, str, str, int]] = []
    for row in decided.select(EVENT, "annotators", "confidence", "dispute", TIME).iter_rows(named=True):
        event, at = row[EVENT], row[TIME]
        if in_sample(event, rule.rate, rule.seed):
            rows.append((_request_id(rule, event, AUDIT, ""), event, AUDIT, at))
            if questions and _fraction(rule.seed, "mix", event) < _GOLD_SHARE:
                question = questions[int(_fraction(rule.seed, "which", event) * len(questions))]
                rows.append((_request_id(rule, question, AUDIT, event), question, AUDIT, at))
        if row["dispute"] is not None:
            rows.append((_request_id(rule, event, DISPUTE, str(row["annotators"])), event, DISPUTE, at))
        elif row["confidence"] < rule.sure:
            rows.append((_request_id(rule, event, UNCERTAIN, str(row["annotators"])), event, UNCERTAIN, at))
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _request_id(rule: AuditRule, event: str, why: str, turn: str) -> str:
    text = json.dumps([rule.pipeline, event, why, rule.guidelines_version, turn])
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _fraction(seed: str, *what: str) -> float:
    """A number in [0, 1) that depends on nothing else."""
    digest = hashlib.sha256(json.dumps([seed, *what]).encode()).digest()
    return int.from_bytes(digest[:6], "big") / (1 << 48)
