"""What a worker tells Prometheus; names by Prometheus's conventions."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from tidemill.streams.ports import Prepared
from tidemill.streams.state_watch import StateSize

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_EVENTS = (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000)


class ArrayHistogram(Collector):
    """A histogram that takes a whole array at once; the client library's own takes one value a call."""

    def __init__(self, name: str, documentation: str, bounds: Sequence[float], registry: CollectorRegistry) -> None:
        self._name, self._documentation = name, documentation
        self._bounds = np.array(bounds, dtype=np.float64)
        self._counts = np.zeros(len(bounds) + 1, dtype=np.int64)
        self._sum = 0.0
        registry.register(self)

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count the values into their buckets."""
        where = np.searchsorted(self._bounds, values, side="left")
        self._counts += np.bincount(where, minlength=len(self._counts))
        self._sum += float(values.sum())

    def quantile(self, q: float) -> float:
        """The upper bound of the bucket in which the quantile lies, of the last one its lower; NaN without values."""
        total = self._counts.sum()
        if not total:
            return float("nan")
        place = int(np.searchsorted(self._counts.cumsum(), q * total))
        return float(self._bounds[min(place, len(self._bounds) - 1)])

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The state in Prometheus's form: cumulative counts."""
        labels = [*map(str, self._bounds.tolist()), "+Inf"]
        buckets = list(zip(labels, self._counts.cumsum().tolist(), strict=True))
        yield HistogramMetricFamily(self._name, self._documentation, buckets=buckets, sum_value=self._sum)


class Metrics:
    """One worker's metrics, in a registry of their own."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self.registry = own
        self.events = Counter("tidemill_events", "Events that a stage decided on.", ["stage", "outcome"], registry=own)
        self.rejected = Counter("tidemill_rejected", "Events rejected, by reason.", ["reason"], registry=own)
        self.warned = Counter(
            "tidemill_warned", "Events that failed a check which only warns.", ["check"], registry=own
        )
        self.labels = Counter("tidemill_labels", "Labels, by what became of them.", ["outcome"], registry=own)
        self.batch = Histogram("tidemill_batch_events", "Events in a batch.", buckets=_EVENTS, registry=own)
        self.prepare = Histogram("tidemill_prepare_seconds", "Time to process a batch.", buckets=SECONDS, registry=own)
        self.commit = Histogram("tidemill_commit_seconds", "Time to commit a batch.", buckets=SECONDS, registry=own)
        self.last_commit = Gauge(
            "tidemill_last_commit_timestamp_seconds", "When a batch was last committed, in Unix time.", registry=own
        )
        self.aborted = Counter("tidemill_commits_aborted", "Commits rolled back and retried.", registry=own)
        self.lag = Gauge(
            "tidemill_consumer_lag", "Offsets to the end of the input, by partition.", ["partition"], registry=own
        )
        self.state_bytes = Gauge("tidemill_state_bytes", "Memory of the state.", ["partition"], registry=own)
        self.state_keys = Gauge("tidemill_state_keys", "Keys in the state.", ["partition"], registry=own)
        self.restore = Gauge(
            "tidemill_restored_ratio", "Share of the changelog that was read.", ["partition"], registry=own
        )
        self.snapshots = Counter(
            "tidemill_snapshots", "Local snapshots of state, by outcome.", ["outcome"], registry=own
        )
        self.refused = Counter("tidemill_models_refused", "Announced models that were not served.", registry=own)
        self.model = Info("tidemill_model", "The model in service.", registry=own)
        latency = "From an event's record timestamp to the commit of what became of it."
        self.latency = ArrayHistogram("tidemill_event_latency_seconds", latency, SECONDS, own)

    def committed(self, prepared: Prepared, latencies: NDArray[np.float64]) -> None:
        """Count a committed batch, with each event's latency in seconds."""
        for stage, counts in prepared.counts.items():
            self.events.labels(stage, "accepted").inc(counts.accepted)
            for reason, number in counts.rejected.items():
                self.events.labels(stage, "rejected").inc(number)
                self.rejected.labels(reason).inc(number)
            for check, number in counts.warned.items():
                self.warned.labels(check).inc(number)
            for outcome, number in counts.labels.items():
                self.labels.labels(outcome).inc(number)
        self.batch.observe(len(latencies))
        self.latency.observe(latencies)

    def lags(self, by_partition: dict[int, int]) -> None:
        """Show the lag of the partitions that this worker has, and of no other."""
        self.lag.clear()
        for partition, lag in by_partition.items():
            self.lag.labels(str(partition)).set(lag)

    def state(self, sizes: Mapping[int, StateSize]) -> None:
        """Show the state of the partitions that this worker has, and of no other."""
        self.state_bytes.clear()
        self.state_keys.clear()
        for partition, size in sizes.items():
            self.state_bytes.labels(str(partition)).set(size.nbytes)
            self.state_keys.labels(str(partition)).set(size.keys)

    def restored(self, partition: int, share: float) -> None:
        """Show how far a partition's restore has come."""
        self.restore.labels(str(partition)).set(share)

    def snapshot(self, written: bool) -> None:
        """Count a snapshot that was due."""
        self.snapshots.labels("written" if written else "failed").inc()

    def serves(self, version: str, served: bool) -> None:
        """Note a model that was announced."""
        if served:
            self.model.info({"version": version})
        else:
            self.refused.inc()
