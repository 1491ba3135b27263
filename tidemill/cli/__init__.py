"""The program `tidemill`."""

import importlib
import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from tidemill.schemas.errors import TidemillError

app = typer.Typer(
    name="tidemill",
    help="Event-driven streaming machine learning on Apache Kafka.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_COMMANDS = (
    *("run", "control", "jobs", "archive", "data", "training", "tracking", "learn", "explain", "models"),
    *("report", "proof", "replay", "demo"),
)
for _module in _COMMANDS:
    importlib.import_module(f"tidemill.cli.{_module}").register(app)
for _module in ("broker", "topics", "schemas", "rejected", "labels", "alerts", "access", "datasets"):
    app.add_typer(importlib.import_module(f"tidemill.cli.{_module}").app, name=_module)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tidemill {version('tidemill')}")
        raise typer.Exit


@app.callback()
def options(
    asked: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Event-driven streaming machine learning on Apache Kafka."""


def main() -> None:
    """Run the program; a refusal is one line on standard error and an exit code, never a traceback."""
    # What librdkafka retries by itself is no news to who runs a command; workers log it, see `run`.
    logging.getLogger("tidemill.librdkafka").setLevel(logging.ERROR)
    try:
        app()
    except TidemillError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(error.exit_code) from None
