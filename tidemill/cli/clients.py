"""A client for a pipeline that is named on the command line."""

from tidemill.cli.options import DEFAULT_BOOTSTRAP
from tidemill.client import Client
from tidemill.loading import load_pipeline
from tidemill.pipeline import Pipeline


def client_for(pipeline: str | Pipeline, bootstrap_servers: str | None, registry_url: str | None = None) -> Client:
    """Of a pipeline that is loaded; else by file or module if it looks like one, else by the pipeline's name."""
    named = isinstance(pipeline, str) and (pipeline.endswith(".py") or ":" in pipeline or "." in pipeline)
    declared = load_pipeline(str(pipeline)) if named else pipeline
    return Client(declared, bootstrap_servers, registry_url=registry_url, default_bootstrap=DEFAULT_BOOTSTRAP)
