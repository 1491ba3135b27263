"""`tidemill archive`."""

import logging
import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tidemill.cli.options import (
    DEFAULT_BOOTSTRAP,
    AsJson,
    Bootstrap,
    MetricsHost,
    MetricsPort,
    PipelineFile,
    RegistryUrl,
    err,
    home,
    out,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from tidemill.streams.archive import Archived

log = logging.getLogger("tidemill.archive")
Root = Annotated[
    str | None,
    typer.Option(
        "--archive",
        envvar="TIDEMILL_ARCHIVE",
        metavar="DIR|URL",
        help="The folder of archives, with one for each pipeline; by default `archive` under TIDEMILL_HOME.",
    ),
]
KeepVersions = Annotated[
    str, typer.Option("--keep-versions", help="How long a table's version is kept after another replaced it.")
]
_UPKEEP_SECONDS = 600.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(archive)


def archives(root: str | None) -> str:
    """The folder that has the archives of all pipelines."""
    return (root or str(home() / "archive")).rstrip("/")


def archive(
    pipeline: PipelineFile,
    follow: Annotated[bool, typer.Option("--follow", help="Go on until SIGTERM or Ctrl-C.")] = False,
    root: Root = None,
    every: Annotated[
        float, typer.Option("--every", min=0.1, help="With --follow: seconds between two looks at the topics.")
    ] = 10.0,
    keep_rows: Annotated[
        str | None, typer.Option("--keep-rows", help="Delete rows older than this, such as 90d; by default none.")
    ] = None,
    keep_versions: KeepVersions = "30d",
    upkeep: Annotated[
        bool, typer.Option("--upkeep/--no-upkeep", help="Join small files, and delete what is older than it is kept.")
    ] = True,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    as_json: AsJson = False,
) -> None:
    """Write a pipeline's features, predictions and outcomes to Delta Lake tables, each message exactly once.

    It goes on where the tables stand, up to the present end of the topics. It can be killed at any moment, and several
    can run at the same time. Training jobs do the same by themselves before they build a data set; run it for topics
    whose retention is short.

    Examples:
        tidemill archive flights.py
        tidemill archive flights.py --follow --keep-rows 365d
        tidemill archive flights.py --archive s3://lake/tidemill

    """
    from tidemill.cli.run import log_to_stderr, stop_signal
    from tidemill.loading import load_pipeline
    from tidemill.streams.archive import Ages, Archive, add_up
    from tidemill.streams.archive_metrics import ArchiveMetrics
    from tidemill.streams.archive_upkeep import maintain
    from tidemill.streams.health import Health, serve
    from tidemill.streams.kafka.connection import Connection
    from tidemill.streams.kafka.follower import Follower
    from tidemill.streams.kafka.reader import KafkaReader
    from tidemill.streams.kafka.registry import open_registry
    from tidemill.streams.schema_topic import SchemaTopic

    log_to_stderr("archive", "INFO" if follow else "WARNING")
    plan = load_pipeline(pipeline).plan()
    kept = Archive(f"{archives(root)}/{plan.name}", Ages(keep_rows, keep_versions))
    connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
    # Whoever does not follow may be ended at any moment: a commit is whole or not there.
    stop = stop_signal() if follow else threading.Event()
    metrics, health = ArchiveMetrics(), Health(time.monotonic)
    if metrics_port is not None:
        serve(metrics.registry, health, metrics_host, metrics_port)
    stopped = health.watching(stop.is_set)
    total: dict[str, Archived] = {}
    columns = (SpinnerColumn(), TextColumn("reading {task.completed:,} records"), TimeElapsedColumn())
    with open_registry(registry_url) as registry, Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        schemas = SchemaTopic(Follower(connection, plan.topic("schemas")), registry)
        reader = KafkaReader(connection)
        looks = 0
        while not stopped():
            done = kept.catch_up(plan, reader, schemas, lambda n: bar.advance(task, n), stopped)
            total = add_up(total, done)
            for suffix, each in done.items():
                metrics.rows.labels(suffix).inc(each.rows)
            if follow and (rows := sum(each.rows for each in done.values())):
                log.info("archived %d rows", rows)
            if upkeep and (not follow or looks % max(1, round(_UPKEEP_SECONDS / every)) == 0):
                for suffix, did in maintain(kept, datetime.now(UTC)).items():
                    log.info("%s: %s", suffix, did)
            looks += 1
            if not follow or stop.wait(every):
                break
        reader.close()
    if as_json:
        print_json({"pipeline": plan.name, "archive": kept.root, "tables": total})
        return
    print_table(f"Archive of {plan.name} in {kept.root}", [_row(suffix, each) for suffix, each in total.items()])
    for suffix, each in total.items():
        if each.missed:
            out.print(f"{suffix}: retention deleted {each.missed:,} offsets before they were archived")


def _row(suffix: str, done: "Archived") -> dict[str, Any]:
    through = sum(done.positions.values())
    return {
        "table": suffix,
        "version": done.version,
        "rows added": done.rows,
        "unreadable": done.unreadable,
        "offsets": through,
    }
