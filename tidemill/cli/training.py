"""`tidemill train`."""

from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tidemill.cli.options import (
    DEFAULT_BOOTSTRAP,
    AsJson,
    Bootstrap,
    PipelineFile,
    RegistryUrl,
    err,
    moment,
    out,
    print_json,
)
from tidemill.streams.kafka.connection import Connection


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(train)


def train(
    pipeline: PipelineFile,
    since: Annotated[
        str | None,
        typer.Option("--from", help="Train on events from this time on (ISO 8601, UTC if it names no zone)."),
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--until", help="Train on events before this time; by default, the last fifth is kept to evaluate."
        ),
    ] = None,
    evaluate_until: Annotated[
        str | None, typer.Option("--evaluate-until", help="Evaluate on the events from --until to this time.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Announce the model even if it is no better than the base rate.")
    ] = False,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """Train the declared model on the features that serving computed, evaluate it on later events, and announce it.

    Running workers serve it from their next transaction on; where the pipeline declares a rollout and has a champion,
    they score it as a shadow. Exits with 2 if it is refused.

    Examples:
        tidemill train flights.py
        tidemill train flights.py --until 2013-02-01 --evaluate-until 2013-03-01

    """
    from tidemill.loading import load_pipeline
    from tidemill.streams.kafka.registry import open_registry
    from tidemill.training import DISPUTED, Stretch
    from tidemill.training import train as run_training

    stretch = Stretch(moment(since), moment(until), moment(evaluate_until))
    columns = (SpinnerColumn(), TextColumn("reading {task.completed:,} records"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar, open_registry(registry_url) as registry:
        task = bar.add_task("", total=None)
        connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
        made = run_training(
            load_pipeline(pipeline),
            connection,
            stretch,
            force=force,
            progress=lambda n: bar.advance(task, n),
            registry=registry,
        )
    if as_json:
        print_json(made)
        return
    what = f"{made['estimator']}, {made['artefact_bytes']:,} bytes"
    out.print(f"model [bold]{made['model_version']}[/bold] announced as {made['status']}: {what}")
    out.print(f"trained on {made['training_rows']:,} events, evaluated on {made['evaluation_rows']:,} later ones")
    figures = dict(made["metrics"])
    if left_out := int(figures.pop(DISPUTED, 0)):
        out.print(f"left out {left_out:,} events whose labels are in dispute; `tidemill labels quality` names them")
    for name, value in sorted(figures.items()):
        out.print(f"  {name:<16} {value:.4f}")
