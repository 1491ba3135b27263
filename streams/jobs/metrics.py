"""What a job runner tells Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge


class JobMetrics:
    """A runner's metrics, in a registry of their own."""

    def __init__(self) -> None:
        own = CollectorRegistry()
        self.registry = own
        self.ended = Counter(
            "tidemill_jobs_ended", "Training jobs that this runner ended, by state.", ["state"], registry=own
        )
        self.failures = Counter("tidemill_job_failures", "Attempts of jobs that failed.", registry=own)
        self.running = Gauge("tidemill_jobs_running", "Training jobs that this runner has under way.", registry=own)
        self.waiting = Gauge("tidemill_jobs_waiting", "Triggers read that wait for their job.", registry=own)
