"""`tidemill rejected`: look at what was refused, and send it again."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from itertools import chain, islice
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tidemill.cli.options import AsJson, Bootstrap, PipelineName, err, moment, out, plain, print_json, print_table
from tidemill.schemas.errors import DeclarationError
from tidemill.streams.rejected_log import Progress as Told
from tidemill.streams.rejected_log import (
    Selection,
    event_of,
    parse_place,
    partitions_of,
    place_of,
    read_rejections,
    tally,
)
from tidemill.streams.rejections import StoredRejection

app = typer.Typer(help="Look at rejected events, and send them through again.", no_args_is_help=True)

Reasons = Annotated[list[str] | None, typer.Option("--reason", help="Only with this reason code; may be repeated.")]
Stages = Annotated[list[str] | None, typer.Option("--stage", help="Only from this stage; may be repeated.")]
Since = Annotated[
    str | None,
    typer.Option("--since", help="Only events whose records were sent at this time (2013-02-01T06:00:00Z) or later."),
]
Places = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[PLACE]...",
        help="Rejections by their place, 2@17 or P.rejected[2]@17, or by that of their event or label, P.events[2]@17.",
    ),
]


@app.command("list")
def list_(
    pipeline: PipelineName,
    reason: Reasons = None,
    stage: Stages = None,
    since: Since = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Count rejections by stage and reason: how many, how many of them sent again, first, last, and an example.

    Times are those of the events' records. Memory does not grow with the rejections.

    Example:
        tidemill rejected list flights --since 2013-02-01

    """
    from tidemill.cli.clients import client_for
    from tidemill.streams.kafka.reader import KafkaReader
    from tidemill.streams.retries import SOURCES, retried_offsets

    with client_for(pipeline, bootstrap_servers) as client, _looking() as told:
        reader, chosen = KafkaReader(client.connection), _selection(client.name, reason, stage, since)
        reader.partitions(f"{client.name}.retries")
        events, labels = (partial(retried_offsets, reader, client.name, suffix=suffix) for suffix in SOURCES)
        kinds = tally(reader, client.name, chosen, events, told, labels)
        reader.close()
    rows = [
        {
            "stage": kind.stage,
            "reason": kind.reason,
            "count": kind.count,
            "retried": kind.retried,
            "first": _time(kind.first),
            "last": _time(kind.last),
            "place": kind.place,
            "example": kind.example,
        }
        for kind in kinds
    ]
    total = sum(kind.count for kind in kinds)
    if as_json:
        print_json({"pipeline": client.name, "rejections": total, "kinds": rows})
        return
    print_table(f"{total:,} rejections of {client.name}", [_without(row, "example") for row in rows])
    for row in rows:
        out.print(f"{row['reason']}: {row['example']}", markup=False)


@app.command()
def show(
    pipeline: PipelineName,
    place: Places = None,
    reason: Reasons = None,
    stage: Stages = None,
    since: Since = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="At most this many, the oldest first.")] = 10,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Show rejections whole, with what the events hold: decoded where they can be, else in hex.

    Examples:
        tidemill rejected show flights 2@17
        tidemill rejected show flights --reason out_of_range -n 3 --json

    """
    from tidemill.cli.clients import client_for
    from tidemill.schemas.codec import Codec
    from tidemill.streams.kafka.reader import KafkaReader
    from tidemill.streams.retries import SOURCES

    with client_for(pipeline, bootstrap_servers) as client, _looking() as told:
        reader = KafkaReader(client.connection)
        chosen = _selection(client.name, reason, stage, since, place)
        contracts = client.contracts()
        codecs = {f"{client.name}.{s}": Codec(contracts[s], client.schemas) for s in SOURCES if s in contracts}
        found = chain.from_iterable(
            read_rejections(reader, client.name, partition, chosen, told)
            for partition in partitions_of(reader, client.name, chosen)
        )
        rows = [_whole(client.name, rejection, codecs) for rejection in islice(found, limit)]
        reader.close()
    if place and not rows:
        raise DeclarationError(
            f"no rejection of {client.name} is at {', '.join(place)}; `tidemill rejected list` counts"
        )
    for row in rows:
        if as_json:
            print_json(row)
            continue
        for name, value in plain(row).items():
            out.print(f"{name:>10}  {value}", markup=False)
        out.print()


@app.command()
def retry(
    pipeline: PipelineName,
    place: Places = None,
    reason: Reasons = None,
    stage: Stages = None,
    since: Since = None,
    everything: Annotated[bool, typer.Option("--all", help="All rejections, if nothing else is chosen.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be sent.")] = False,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Send rejected events and labels through the pipeline again, each rejection exactly once.

    First correct what was wrong, and start the pipeline again. What was sent by an earlier retry is passed over: one
    that broke off is simply called again. A copy that is refused again is a rejection of its own.

    Examples:
        tidemill rejected retry flights --reason in_future --dry-run
        tidemill rejected retry flights --reason in_future

    """
    from tidemill.cli.clients import client_for
    from tidemill.streams import retries
    from tidemill.streams.kafka.reader import KafkaReader
    from tidemill.streams.kafka.transactions import KafkaTransactions

    with client_for(pipeline, bootstrap_servers) as client:
        chosen = _selection(client.name, reason, stage, since, place)
        if everything == (chosen != Selection()):
            raise DeclarationError("choose by --reason, --stage, --since or places, or else say --all")
        name, connection = client.name, client.connection
        reader = KafkaReader(connection)
        reader.partitions(f"{name}.retries")
        with _looking() as told:
            # The name must be taken before anything is read: see `streams.retries`.
            transactions = None if dry_run else KafkaTransactions(connection, retries.transactional_id(name))
            result = retries.retry(reader, name, chosen, transactions, told)
        reader.close()
    if as_json:
        print_json({"pipeline": name, "dry_run": dry_run, **plain(result)})
        return
    by_reason = ", ".join(f"{count:,} {code}" for code, count in sorted(result.reasons.items()))
    out.print(f"{'would send' if dry_run else 'sent'} {result.sent:,} again{f': {by_reason}' if by_reason else ''}")
    for count, what in (
        (result.already, "were sent again before"),
        (result.without_bytes, "cannot be sent: their bytes are not kept"),
        (result.not_events, f"cannot be sent: they are no events of {name}"),
    ):
        if count:
            out.print(f"{count:,} {what}")


def _selection(
    name: str, reasons: list[str] | None, stages: list[str] | None, since: str | None, places: list[str] | None = None
) -> Selection:
    at = moment(since)
    return Selection(
        frozenset(reasons or ()),
        frozenset(stages or ()),
        None if at is None else round(at.timestamp() * 1000),
        frozenset(parse_place(text, name) for text in places or ()),
    )


@contextmanager
def _looking() -> Iterator[Told]:
    columns = (SpinnerColumn(), TextColumn("looked at {task.completed:,} rejections"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda n: bar.advance(task, n)


def _whole(name: str, rejection: StoredRejection, codecs: Mapping[str, Any]) -> dict[str, Any]:
    record = rejection.record
    row: dict[str, Any] = {
        "place": str(place_of(rejection, f"{name}.rejected")),
        "event": str(event_of(rejection)),
        "stage": rejection.stage,
        "reason": rejection.reason,
        "message": rejection.message,
        "time": _time(record.timestamp),
        "attempt": rejection.attempt,
        "key": record.key,
    }
    codec = codecs.get(rejection.topic)
    decoded = None if codec is None else codec.decode([record.value], [record.headers])
    if decoded is not None and len(decoded.rows):
        return row | {"fields": decoded.table.to_pylist()[0]}
    return row | {"hex": None if record.value is None else record.value.hex()}


def _without(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != name}


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
