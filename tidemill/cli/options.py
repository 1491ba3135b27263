"""What the commands share: options, output for people and for machines, and where things are."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tidemill.schemas.errors import DeclarationError
from tidemill.streams.kafka.connection import BOOTSTRAP_ENV

DEFAULT_BOOTSTRAP = "127.0.0.1:9092"
out = Console(highlight=False, soft_wrap=True)
if not out.is_terminal:
    # In a pipe there is no screen that a table's row would have to fit.
    out.width = 10_000
err = Console(stderr=True, highlight=False, soft_wrap=True)

PipelineFile = Annotated[
    str, typer.Argument(metavar="PIPELINE", help="The pipeline: FILE.py, package.module, or either with :name.")
]
PipelineName = Annotated[
    str,
    typer.Argument(
        metavar="PIPELINE", help="The pipeline's name, or its FILE.py (then nothing is asked of the schemas topic)."
    ),
]
Bootstrap = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers", help=f"The Kafka cluster; by default {BOOTSTRAP_ENV}, else {DEFAULT_BOOTSTRAP}."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
RegistryUrl = Annotated[
    str | None,
    typer.Option(
        "--registry-url",
        envvar="TIDEMILL_REGISTRY_URL",
        help="A schema registry: Confluent's framing is written instead of Avro's.",
    ),
]

MetricsPort = Annotated[
    int | None,
    typer.Option("--metrics-port", help="Prometheus port, also of /live and /ready; 0: any free one. By default none."),
]
MetricsHost = Annotated[str, typer.Option("--metrics-host", help="Address that the metrics are served on.")]


def home() -> Path:
    """The folder for everything that Tidemill writes: TIDEMILL_HOME, else `.tidemill` below the current one."""
    return Path(os.environ.get("TIDEMILL_HOME", ".tidemill")).absolute()


def moment(text: str | None) -> datetime | None:
    """A time as people write it, in UTC if it names no zone; raises DeclarationError."""
    if text is None:
        return None
    try:
        made = datetime.fromisoformat(text)
    except ValueError:
        raise DeclarationError(f"expected a time such as 2013-02-01 or 2013-02-01T06:00:00Z, got {text!r}") from None
    return made if made.tzinfo else made.replace(tzinfo=UTC)


def plain(value: Any) -> Any:
    """A value as JSON can hold it; bytes as text where they are text, else in hex."""
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        text = value.decode("utf-8", errors="replace")
        return text if text.isprintable() else {"hex": value.hex()}
    if isinstance(value, float) and value != value:
        return None
    return value


def print_json(value: Any) -> None:
    """One JSON document on a line of its own."""
    sys.stdout.write(json.dumps(plain(value), default=str) + "\n")
    sys.stdout.flush()


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Rows with equal keys as a table."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name, value in (rows[0] if rows else {}).items():
        table.add_column(name.replace("_", " "), justify="right" if isinstance(value, int | float) else "left")
    for row in rows:
        table.add_row(*map(_cell, row.values()))
    out.print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
