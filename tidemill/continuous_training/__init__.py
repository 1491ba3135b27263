"""What a training job does: from the archive to a data set, a search, the gates, and a record on the rollout log."""

from tidemill.continuous_training.context import JobContext
from tidemill.continuous_training.job import run_job
from tidemill.continuous_training.publish import publisher

__all__ = ["JobContext", "publisher", "run_job"]
