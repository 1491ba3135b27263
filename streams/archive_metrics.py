"""What `tidemill archive` tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter


class ArchiveMetrics:
    """The archive's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.rows = Counter(
            "tidemill_archived_rows", "Rows added to the archive, by table.", ["table"], registry=self.registry
        )
