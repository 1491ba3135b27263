"""`tidemill send` and `tidemill tail`."""

import csv
import json
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from tidemill.cli.options import AsJson, Bootstrap, PipelineName, RegistryUrl, err, out, plain, print_json
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import DeclarationError, EncodeError, nearest

_TOPICS = ("events", "validated", "features", "predictions", "rejected", "labels", "outcomes")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(send)
    app.command()(tail)


def send(
    pipeline: PipelineName,
    file: Annotated[
        Path | None, typer.Argument(help="JSON lines or CSV (by its name, .csv); standard input if left out.")
    ] = None,
    labels: Annotated[bool, typer.Option("--labels", help="Send labels instead of events.")] = False,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """Send events, each checked against the contract before it leaves; exits with 2 at the first that does not fit.

    Examples:
        tidemill send flights departures.jsonl
        head -100 departures.csv > first.csv && tidemill send flights first.csv
        echo '{"flight_id": "…"}' | tidemill send flights

    """
    from tidemill.cli.clients import client_for

    sent = 0
    with client_for(pipeline, bootstrap_servers, registry_url) as client:
        put = client.send_labels if labels else client.send_many
        with file.open(newline="") if file else sys.stdin as lines:
            rows = (
                _csv(lines, client.contract("labels" if labels else "events"))
                if file and file.suffix == ".csv"
                else _json(lines)
            )
            while batch := list(islice(rows, 1_000)):
                try:
                    put([row for _, row in batch])
                except EncodeError:
                    # Find the line, so that the message can name it.
                    for number, row in batch:
                        try:
                            put([row])
                        except EncodeError as error:
                            client.flush()
                            raise EncodeError(f"line {number}: {error} ({sent} sent before it)") from None
                        sent += 1
                else:
                    sent += len(batch)
        client.flush()
    print_json({"sent": sent}) if as_json else out.print(f"sent {sent:,} {'labels' if labels else 'events'}")


def tail(
    pipeline: PipelineName,
    topic: Annotated[str, typer.Argument(help=", ".join(_TOPICS))] = "predictions",
    since: Annotated[str, typer.Option(help="`now`, or the `beginning` of what the topic still has.")] = "now",
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=1, help="Stop after this many.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Stop after this many seconds without a message.")] = None,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """Print a topic's messages as they are committed: one a line, with --json as JSON.

    Examples:
        tidemill tail flights
        tidemill tail flights rejected --since beginning -n 10 --json

    """
    from tidemill.cli.clients import client_for

    if topic not in _TOPICS:
        raise DeclarationError(f"there is no topic {topic!r} to tail{nearest(topic, _TOPICS)}")
    with client_for(pipeline, bootstrap_servers, registry_url) as client:
        rows: Any
        if topic == "rejected":
            rows = client.rejections(since=since, timeout=timeout)
        elif topic == "predictions":
            rows = client.predictions(since=since, timeout=timeout)
        elif topic == "outcomes":
            rows = client.outcomes(since=since, timeout=timeout)
        else:
            rows = client.rows(topic, since=since, timeout=timeout)
        try:
            for row in islice(rows, limit):
                print_json(row) if as_json else out.print(
                    "  ".join(f"[dim]{k}[/dim]={v}" for k, v in plain(row).items())
                )
        except KeyboardInterrupt:
            err.print("stopped")


def _json(lines: IO[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise EncodeError(f"line {number}: expected a JSON object, got {line.strip()[:60]!r} ({error})") from None
        if not isinstance(row, dict):
            raise EncodeError(f"line {number}: expected a JSON object, got {type(row).__name__}")
        yield number, row


def _csv(lines: IO[str], contract: Contract) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a CSV file with a header; an empty cell is null, and cells become what the contract's field is."""
    reader = csv.DictReader(lines)
    convert = {field.name: _cell(str(field.arrow)) for field in contract.fields}
    for row in reader:
        made = {}
        for name, cell in row.items():
            if name not in convert:
                raise EncodeError(f"line 1: {contract.name} has no field {name!r}{nearest(str(name), convert)}")
            try:
                made[name] = None if cell in ("", None) else convert[name](cell)
            except ValueError:
                kind = contract.field(name).arrow
                raise EncodeError(f"line {reader.line_num}, field {name}: expected {kind}, got {cell!r}") from None
        yield reader.line_num, made


def _cell(kind: str) -> Any:
    if kind.startswith("int"):
        return int
    if kind in ("float", "double"):
        return float
    if kind == "bool":
        return _truth
    return str


def _truth(text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise ValueError(text)
