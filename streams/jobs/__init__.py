"""Continuous training: triggers are a queue that runners share, each job a process of its own."""

from tidemill.streams.jobs.launcher import JobSpec, Launcher, Limits, LocalProcess, Running
from tidemill.streams.jobs.runner import JobRunner, RunnerOptions
from tidemill.streams.jobs.status import JobLog, latest_jobs

__all__ = [
    "JobLog",
    "JobRunner",
    "JobSpec",
    "Launcher",
    "Limits",
    "LocalProcess",
    "RunnerOptions",
    "Running",
    "latest_jobs",
]
