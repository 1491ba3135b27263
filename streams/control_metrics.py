"""What the control plane tells Prometheus."""

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from tidemill.processors.drift.incident import Incident
from tidemill.processors.rollout.policy import Evidence
from tidemill.processors.rollout.state import Rollout


class ControlMetrics:
    """The control plane's metrics, in a registry of their own."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self.registry = own
        self.profiles = Counter(
            "tidemill_profiles", "Profiles of partitions read, by outcome.", ["outcome"], registry=own
        )
        self.windows = Counter("tidemill_windows_closed", "Windows judged, by kind of profile.", ["kind"], registry=own)
        self.open_windows = Gauge("tidemill_windows_open", "Profiles of windows that are not complete.", registry=own)
        self.closed_until = Gauge(
            "tidemill_window_closed_timestamp_seconds",
            "The end of the last window judged, in event time.",
            ["kind"],
            registry=own,
        )
        self.alerts = Counter("tidemill_alerts", "Alerts written, by state.", ["state", "severity"], registry=own)
        self.incidents = Gauge(
            "tidemill_incidents_open", "Open incidents; muted ones apart.", ["severity", "muted"], registry=own
        )
        self.triggers = Counter(
            "tidemill_retrain_triggers",
            "Retrain triggers written, by state and cause.",
            ["state", "cause", "suppressed_by"],
            registry=own,
        )
        self.rollout = RolloutMetrics(own)

    def standing(self, incidents: Iterable[Incident]) -> None:
        """Show the open incidents."""
        tally = Tally((each.alarm.severity, str(each.muted).lower()) for each in incidents)
        for severity in ("warning", "critical"):
            for muted in ("false", "true"):
                self.incidents.labels(severity, muted).set(tally[severity, muted])


class RolloutMetrics:
    """How the models stand that are in service or compared, as the rollout judge sees them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        pair = ["stage", "candidate", "reference"]

        def gauge(name: str, said: str, labels: list[str]) -> Gauge:
            return Gauge(f"tidemill_rollout_{name}", said, labels, registry=registry)

        self.role = gauge("role", "1 for the role that a model has now.", ["version", "role"])
        self.outcomes = gauge("outcomes", "Outcomes on which two models are compared in this stage.", pair)
        self.loss = gauge("loss", "Mean loss on these outcomes, of candidate or reference.", [*pair, "of"])
        self.scored = gauge("scored", "Events that the candidate was shown in this stage.", pair)
        self.failures = gauge("failures", "Of these, events that only the other one answered.", [*pair, "of"])
        self.steps = Counter("tidemill_rollout_steps", "Steps taken by the judge.", ["step"], registry=registry)

    def clear(self) -> None:
        """Nobody is looked at any more."""
        for each in (self.role, self.outcomes, self.loss, self.scored, self.failures):
            each.clear()

    def standing(self, rollout: Rollout, compared: Iterable[Evidence]) -> None:
        """Show the roles, and each comparison."""
        self.clear()
        roles = {"champion": [rollout.champion], "canary": [rollout.canary], "shadow": rollout.shadows}
        for role, standings in roles.items():
            for standing in standings:
                if standing is not None:
                    self.role.labels(standing.version, role).set(1)
        for found in compared:
            pair = found.stage.value, found.candidate, found.reference
            self.outcomes.labels(*pair).set(found.here.count)
            self.scored.labels(*pair).set(found.scored)
            self.failures.labels(*pair, "candidate").set(found.failures)
            self.failures.labels(*pair, "reference").set(found.reference_failures)
            if found.here.count:
                self.loss.labels(*pair, "candidate").set(found.here.candidate_loss)
                self.loss.labels(*pair, "reference").set(found.here.reference_loss)
