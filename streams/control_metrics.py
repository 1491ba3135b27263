"""What the control plane tells Prometheus."""

from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge

from tidemill.processors.drift.incident import Incident


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

    def standing(self, incidents: Iterable[Incident]) -> None:
        """Show the open incidents."""
        tally = Tally((each.alarm.severity, str(each.muted).lower()) for each in incidents)
        for severity in ("warning", "critical"):
            for muted in ("false", "true"):
                self.incidents.labels(severity, muted).set(tally[severity, muted])
