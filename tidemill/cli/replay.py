"""`tidemill replay`: the log's events once more through a pipeline's checks and features."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tidemill.cli.options import (
    DEFAULT_BOOTSTRAP,
    AsJson,
    Bootstrap,
    PipelineFile,
    RegistryUrl,
    err,
    moment,
    out,
    plain,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from tidemill.streams.comparison import PartitionReplay
    from tidemill.streams.replay import Replay

_COMPARED = ("compared", "equal", "different", "missing", "surplus", "waiting", "expired")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(replay)


def replay(
    pipeline: PipelineFile,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare the features with those on the features topic, byte by byte.")
    ] = False,
    partition: Annotated[int | None, typer.Option("--partition", min=0, help="Of this partition only.")] = None,
    from_offset: Annotated[
        int, typer.Option("--from-offset", min=0, help="Events from this offset on, of each partition.")
    ] = 0,
    to_offset: Annotated[int | None, typer.Option("--to-offset", min=0, help="Events before this offset.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--from", help="Events with a record timestamp from this time on (ISO 8601, UTC without a zone)."),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Events with a record timestamp before this time.")
    ] = None,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """Run the events through the checks and features again, in memory, and say what comes out; no topic is written.

    State is built from the beginning of the events topic, whatever range is looked at. With `--compare`, exits with 1
    if a feature differs from what was served, naming the first ones; it is refused if another version of the pipeline
    made them, or if retention has deleted events that they depend on.

    Examples:
        tidemill replay flights.py --compare
        tidemill replay flights.py --compare --partition 2 --from-offset 1000 --to-offset 2000
        tidemill replay changed.py --from 2013-02-01 --until 2013-03-01

    """
    from tidemill.loading import load_pipeline
    from tidemill.streams.comparison import Stretch
    from tidemill.streams.hops.replay import replay_of
    from tidemill.streams.kafka.connection import Connection
    from tidemill.streams.kafka.follower import Follower
    from tidemill.streams.kafka.reader import KafkaReader
    from tidemill.streams.kafka.registry import Registry
    from tidemill.streams.schema_topic import SchemaTopic

    declared = load_pipeline(pipeline)
    stretch = Stretch(from_offset, to_offset, _milliseconds(since), _milliseconds(until))
    connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
    plan = declared.make_plan()
    registry = Registry(registry_url) if registry_url else None
    schemas = SchemaTopic(Follower(connection, plan.topic("schemas")), registry)
    reader = KafkaReader(connection)
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("")
        made = replay_of(plan, reader, schemas, stretch, compare=compare, progress=lambda n: bar.advance(task, n))
        chosen = made.choose(partition)
        bar.update(task, total=made.total(chosen))
        results = [made.partition(number) for number in chosen]
    reader.close()
    if as_json:
        print_json({"pipeline": plan.name, "version": plan.version, **_summary(made, results, compare=compare)})
    else:
        _print(made, results, compare=compare)
    raise typer.Exit(0 if all(result.holds for result in results) else 1)


def _milliseconds(text: str | None) -> int | None:
    time = moment(text)
    return None if time is None else int(time.timestamp() * 1000)


def _counted(compare: bool) -> tuple[str, ...]:
    return ("events", "features", *(_COMPARED if compare else ()))


def _summary(made: "Replay", results: "list[PartitionReplay]", *, compare: bool) -> dict[str, Any]:
    return {
        **({"holds": all(result.holds for result in results)} if compare else {}),
        **{name: sum(getattr(result, name) for result in results) for name in _counted(compare)},
        "rejected": dict(sum((result.rejected for result in results), Counter())),
        "partitions": results,
        "table_rows_forgotten": {name: table.forgotten for name, table in made.tables.items()},
    }


def _print(made: "Replay", results: "list[PartitionReplay]", *, compare: bool) -> None:
    rows: list[dict[str, Any]] = []
    for result in results:
        counts = {name: getattr(result, name) for name in _counted(compare)}
        rows.append({"partition": result.partition, **counts, "rejected": result.rejected.total()})
    total = {name: sum(row[name] for row in rows) for name in rows[0] if name != "partition"}
    print_table(f"Replay of {made.events}", [*rows, {"partition": "all", **total}])
    for reason, number in sorted(sum((result.rejected for result in results), Counter()).items()):
        out.print(f"  rejected, {reason}: {number:,}")
    for result in results:
        for what, offsets in (("missing", result.first_missing), ("surplus", result.first_surplus)):
            if offsets:
                err.print(f"{what}: features of {made.events}[{result.partition}]@{', '.join(map(str, offsets))}")
        for found in result.differences:
            where = f"{made.events}[{found.partition}]@{found.offset}"
            err.print(f"different: {where} {found.field}: replayed {_show(found.replayed)}, found {_show(found.found)}")
    if compare:
        holds = all(result.holds for result in results)
        out.print("every compared feature is the same, byte by byte" if holds else "the features are NOT the same")
        forgotten = [f"{name} ({table.forgotten:,})" for name, table in made.tables.items() if table.forgotten]
        if forgotten and not holds:
            out.print(
                f"compaction has removed messages of reference tables: {', '.join(forgotten)}; events that were joined"
                " with the rows in them are joined with less now"
            )


def _show(value: Any) -> str:
    made = plain(value)
    return made if isinstance(made, str) else repr(made)
