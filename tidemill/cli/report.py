"""`tidemill report`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tidemill.cli.options import AsJson, Bootstrap, PipelineName, err, moment, out, print_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    pipeline: PipelineName,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page to write; PIPELINE-report.html by default.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--from", help="Only windows that begin at this time (ISO 8601, UTC if it names no zone) or later."
        ),
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Only windows that begin before this time.")] = None,
    slice_: Annotated[
        str, typer.Option("--slice", help="A declared slice, such as origin=JFK; all events by default.")
    ] = "",
    show: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Write a page on drift and performance: distributions against the reference, figures over time, incidents.

    One HTML file with everything in it, to look at, to print, to send. "Now" are the newest windows that together have
    as many events as a window usually has; --until moves it. With --json the same goes to standard output as data, and
    no page is written unless --output names one.

    Examples:
        tidemill report flights
        tidemill report flights --from 2013-06-01 --until 2013-09-01 -o summer.html
        tidemill report flights --slice origin=JFK --json

    """
    from tidemill.cli.clients import client_for
    from tidemill.report import build, page
    from tidemill.report.source import read_material

    begin, end = moment(since), moment(until)
    columns = (SpinnerColumn(), TextColumn("reading {task.completed:,} records"), TimeElapsedColumn())
    with client_for(pipeline, bootstrap_servers) as client, Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        made = build(read_material(client, slice_, begin, end, lambda n: bar.advance(task, n)))
    if output is not None or not as_json:
        output = output or Path(f"{made.pipeline}-report.html")
        output.write_text(page(made), encoding="utf-8")
    if as_json:
        print_json(made)
    else:
        out.print(f"wrote {output}", markup=False)
    if show and output is not None:
        typer.launch(output.absolute().as_uri())
