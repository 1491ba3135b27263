"""A client for a pipeline that is named on the command line."""

from tidemill.cli.options import DEFAULT_BOOTSTRAP
from tidemill.client import Client
from tidemill.loading import load_pipeline


def client_for(pipeline: str, bootstrap_servers: str | None, registry_url: str | None = None) -> Client:
    """By file or module if it looks like one, else by the pipeline's name."""
    declared = load_pipeline(pipeline) if pipeline.endswith(".py") or ":" in pipeline or "." in pipeline else pipeline
    return Client(declared, bootstrap_servers, registry_url=registry_url, default_bootstrap=DEFAULT_BOOTSTRAP)
