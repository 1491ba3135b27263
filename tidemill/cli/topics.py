"""`tidemill topics`: the pipeline's topics on the cluster."""

import typer

from tidemill.cli.options import DEFAULT_BOOTSTRAP, AsJson, Bootstrap, PipelineFile, print_json, print_table
from tidemill.streams.kafka.connection import Connection

app = typer.Typer(help="Create and compare a pipeline's topics.", no_args_is_help=True)


@app.command()
def apply(pipeline: PipelineFile, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Create the topics that are missing; topics that differ from the declaration are reported and left as they are.

    Example:
        tidemill topics apply flights.py

    """
    from tidemill.loading import load_pipeline
    from tidemill.streams.kafka.admin import apply_topics

    plan = load_pipeline(pipeline).plan()
    states = apply_topics(Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP), plan.topics())
    rows = [{"topic": s.name, "partitions": s.partitions, "state": s.state, "detail": s.detail} for s in states]
    print_json(rows) if as_json else print_table("Topics", rows)


@app.command()
def describe(pipeline: PipelineFile, as_json: AsJson = False) -> None:
    """Show the topics as declared: partitions, retention, compaction and what they hold.

    Example:
        tidemill topics describe flights.py

    """
    from tidemill.loading import load_pipeline

    plan = load_pipeline(pipeline).plan()
    rows = [
        {
            "topic": spec.name,
            "partitions": spec.partitions or plan.partitions,
            "cleanup": spec.config["cleanup.policy"],
            "retention": _retention(spec.config.get("retention.ms")),
            "holds": spec.purpose,
        }
        for spec in plan.topics()
    ]
    print_json(rows) if as_json else print_table("Topics", rows)


def _retention(millis: str | None) -> str:
    if millis is None:
        return "last per key"
    return "for ever" if millis == "-1" else f"{int(millis) / 86_400_000:g} days"
