"""`tidemill labels`: how labels stand, what those are worth that people gave, and which they are asked for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tidemill.cli.label_status import status
from tidemill.cli.options import (
    AsJson,
    Bootstrap,
    PipelineFile,
    PipelineName,
    RegistryUrl,
    err,
    moment,
    out,
    plain,
    print_json,
    print_table,
)

app = typer.Typer(help="See how labels stand, judge them, and ask for more.", no_args_is_help=True)
app.command()(status)


@app.command()
def quality(
    pipeline: PipelineFile,
    since: Annotated[
        str | None, typer.Option("--from", help="Labels from this time on (ISO 8601, UTC if it names no zone).")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", help="Labels before this time.")] = None,
    by_model: Annotated[
        bool, typer.Option("--dawid-skene", help="Beside the majority, a consensus by Dawid and Skene's model.")
    ] = False,
    limit: Annotated[int, typer.Option("-n", "--limit", min=0, help="Show at most this many disputed events.")] = 20,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """Say how far annotators agree with each other and with gold questions, and which events are in dispute.

    Examples:
        tidemill labels quality reviews.py
        tidemill labels quality reviews.py --from 2026-03-01 --dawid-skene --json

    """
    from tidemill.cli.clients import client_for
    from tidemill.labelling import assess_labels, read_labels
    from tidemill.loading import load_pipeline
    from tidemill.processors.label_quality import dawid_skene
    from tidemill.streams.kafka.reader import KafkaReader

    declared = load_pipeline(pipeline)
    with client_for(declared, bootstrap_servers, registry_url) as client, _reading() as told:
        reader = KafkaReader(client.connection)
        arrived = read_labels(declared, reader, client.schemas, told)
        reader.close()
    found = assess_labels(declared, arrived, moment(since), moment(until))
    annotators = found.annotators.to_dicts()
    disputed = found.disputed
    summary: dict[str, Any] = {
        "pipeline": declared.name,
        "labels": len(found.answers),
        "events": len(found.decided),
        "alpha": found.alpha,
        "disputed_events": len(disputed),
        "guidelines_versions": {str(name): count for name, count in found.versions},
    }
    if by_model:
        modelled = dawid_skene(found.answers, found.gold)
        for row in annotators:
            row["dawid_skene"] = modelled.accuracy[row["annotator"]]
        summary["dawid_skene_differs"] = found.differing(modelled.labels)
    shown = disputed.select("event_id", "dispute", "label", "share", "annotators", "confidence")
    if as_json:
        print_json({**summary, "annotators": annotators, "disputed": shown.to_dicts()})
        return
    alpha = "not defined" if found.alpha is None else f"{found.alpha:.3f}"
    out.print(
        f"{summary['labels']:,} labels of {summary['events']:,} events; Krippendorff's alpha [bold]{alpha}[/bold];"
        f" {len(disputed):,} events in dispute"
    )
    if by_model:
        out.print(f"Dawid and Skene's model decides otherwise on {summary['dawid_skene_differs']:,} events")
    for name, count in summary["guidelines_versions"].items():
        out.print(f"guidelines {name}: {count:,} labels", markup=False)
    print_table("Annotators", [_rounded(row) for row in annotators])
    if len(disputed) and limit:
        print_table(f"In dispute, {min(limit, len(disputed)):,} of {len(disputed):,}", _rows(shown.head(limit)))


@app.command()
def audit(
    pipeline: PipelineFile,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """Ask for labels on P.label-requests: a sample of what was labelled, gold questions, disputes and doubts.

    What was asked before is not asked again, so call it as often as you like.

    Example:
        tidemill labels audit reviews.py

    """
    from tidemill.cli.clients import client_for
    from tidemill.labelling import read_labels, read_requests, request_labels
    from tidemill.loading import load_pipeline
    from tidemill.streams.kafka.publisher import Publisher
    from tidemill.streams.kafka.reader import KafkaReader

    declared = load_pipeline(pipeline)
    with client_for(declared, bootstrap_servers, registry_url) as client, _reading() as told:
        reader = KafkaReader(client.connection)
        arrived = read_labels(declared, reader, client.schemas, told)
        before = read_requests(declared.name, reader, client.schemas)["request_id"]
        reader.close()
        made = request_labels(declared, arrived, before, Publisher(client.connection, "tidemill-audit"))
    why = {name: int(count) for name, count in made.sent["why"].value_counts().sort("why").iter_rows()}
    if as_json:
        print_json({"pipeline": declared.name, "requested": len(made.sent), "why": why, "before": len(before)})
        return
    told_why = ", ".join(f"{count:,} {name}" for name, count in why.items())
    out.print(f"asked for {len(made.sent):,} labels{f': {told_why}' if told_why else ''}")


@app.command()
def requests(
    pipeline: PipelineName,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with new ones as they come.")] = False,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """List the events that are to be labelled again, each request once; answer with an ordinary label.

    Examples:
        tidemill labels requests reviews
        tidemill labels requests reviews --follow --json

    """
    from tidemill.cli.clients import client_for
    from tidemill.labelling import read_requests
    from tidemill.streams.kafka.reader import KafkaReader

    with client_for(pipeline, bootstrap_servers, registry_url) as client:
        # Begun before the log is read, so that nothing falls between the two.
        coming = client.rows("label-requests") if follow else ()
        reader = KafkaReader(client.connection)
        there = read_requests(client.name, reader, client.schemas)
        reader.close()
        known = set(there["request_id"])
        try:
            for row in there.iter_rows(named=True):
                _tell(row, as_json)
            for row in coming:
                if row["request_id"] not in known:
                    known.add(row["request_id"])
                    _tell(row, as_json)
        except KeyboardInterrupt:
            err.print("stopped")


def _tell(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(row)
        return
    version = f"  guidelines {row['guidelines_version']}" if row["guidelines_version"] else ""
    out.print(f"{row['event_id']}  {row['why']}  {plain(row['asked_at'])[:19]}{version}", markup=False)


@contextmanager
def _reading() -> Iterator[Any]:
    columns = (SpinnerColumn(), TextColumn("reading {task.completed:,} labels"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda n: bar.advance(task, n)


def _rows(frame: Any) -> list[dict[str, Any]]:
    return [_rounded(row) for row in frame.to_dicts()]


def _rounded(row: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}
