"""What the year's drift alerts say, and how well the model did while they stood."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import polars as pl

from tidemill.processors.online_inference.stage import PRIOR
from tidemill.results import Alert

_LEAST = 1e-15


def incident_rows(incidents: Iterable[Alert]) -> list[dict[str, Any]]:
    """Each incident in short, in the order in which they opened."""
    return [
        {
            "opened": incident.opened_at.date().isoformat(),
            "resolved": incident.updated_at.date().isoformat() if incident.state == "resolved" else None,
            "severity": incident.severity,
            "kind": incident.kind,
            "subject": incident.subject,
            "slice": incident.slice,
            "detector": incident.detector,
            "message": incident.message,
        }
        for incident in sorted(incidents, key=lambda each: (each.opened_at, each.id))
    ]


def performance_in_incidents(incidents: Iterable[Alert], outcomes: pl.DataFrame) -> dict[str, dict[str, float]]:
    """The mean log-loss, and how many flights, while an incident of concept drift was open, and in the rest.

    An incident is opened at the end of the window that shows it: what lies before is counted as quiet.
    """
    known = outcomes.filter(pl.col("model_version") != PRIOR)
    scores, late = known["probability_true"].to_numpy(), known["label"].to_numpy()
    loss = -np.log(np.maximum(np.where(late, scores, 1 - scores), _LEAST))
    times = known["event_time"]
    inside = np.zeros(len(known), bool)
    for incident in incidents:
        if incident.kind == "concept_drift" and not incident.slice:
            begun = times >= incident.opened_at
            inside |= (begun & (times < incident.updated_at) if incident.state == "resolved" else begun).to_numpy()
    parts = {"concept_drift": loss[inside], "rest": loss[~inside]}
    return {name: {"flights": len(part), "log_loss": float(part.mean())} for name, part in parts.items() if len(part)}
