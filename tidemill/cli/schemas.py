"""`tidemill schemas`: contracts, compared and shown."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from tidemill.cli.options import AsJson, Bootstrap, PipelineName, err, out, print_json, print_table
from tidemill.schemas.compatibility import check as find_incompatibilities
from tidemill.schemas.contract import Contract

app = typer.Typer(help="Compare contracts, and show those that a pipeline has published.", no_args_is_help=True)


@app.command()
def check(
    old: Annotated[Path, typer.Argument(help="The schema in use.")],
    new: Annotated[Path, typer.Argument(help="The schema that is to replace it.")],
    mode: Annotated[
        Literal["backward", "forward", "full"],
        typer.Option(help="backward: new readers, old data. forward: old readers, new data. full: both."),
    ] = "full",
    as_json: AsJson = False,
) -> None:
    """Say whether a changed schema is compatible with the old one; exits with 1 if not, naming each field and rule.

    Example:
        tidemill schemas check departure-v1.avsc departure-v2.avsc

    """
    found = find_incompatibilities(Contract.load(old), Contract.load(new), mode)
    if as_json:
        print_json({"compatible": not found, "mode": mode, "incompatibilities": found})
    elif found:
        for each in found:
            err.print(f"{each.field}: {each.rule} ({each.direction}): {each.message}")
    else:
        out.print(f"{new} is {mode} compatible with {old}")
    raise typer.Exit(1 if found else 0)


@app.command()
def show(
    pipeline: PipelineName,
    topic: Annotated[
        str, typer.Argument(help="events, validated, features, predictions or labels; all of them if left out.")
    ] = "",
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Show a pipeline's published contracts; with a topic, its schema as .avsc text.

    Example:
        tidemill schemas show flights events > departure.avsc

    """
    from tidemill.cli.clients import client_for

    with client_for(pipeline, bootstrap_servers) as client:
        if topic:
            print_json(client.contract(topic).schema)
            return
        found = client.contracts()
    rows = [
        {"topic": name, "fingerprint": c.fingerprint_hex, "record": c.name, "fields": len(c.fields)}
        for name, c in found.items()
    ]
    print_json(rows) if as_json else print_table("Contracts", rows)
