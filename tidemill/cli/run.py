"""`tidemill run` and the worker processes that it starts; `tidemill describe`."""

import faulthandler
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from tidemill.cli.options import (
    DEFAULT_BOOTSTRAP,
    AsJson,
    Bootstrap,
    PipelineFile,
    RegistryUrl,
    home,
    out,
    print_json,
    print_table,
)
from tidemill.schemas.errors import StreamError
from tidemill.streams.plan import SCORED, STAGES, Plan

Stages = Annotated[
    str,
    typer.Option(
        "--stages",
        help="`all` in each worker, `each` in one of its own, or neighbours: `sanity_check,feature_enrichment`;"
        " `tidemill describe` names them.",
    ),
]
Delivery = Annotated[str, typer.Option("--delivery", help="`exactly-once` (transactions) or `at-least-once`.")]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"],
    typer.Option("--log-level", help="What the workers say on standard error."),
]
Trusted = Annotated[
    list[str] | None,
    typer.Option(
        "--trust-model", metavar="SHA256", help="Load this model although skops cannot vouch for it. Repeatable."
    ),
]

SnapshotsOption = Annotated[
    str,
    typer.Option(
        "--snapshots",
        metavar="DIR|off",
        help="Where local copies of the state are kept, for a quick restart; by default under TIDEMILL_HOME.",
    ),
]

MaxState = Annotated[
    int | None,
    typer.Option(
        "--max-state",
        metavar="MB",
        min=1,
        help="Most memory for the state of a worker; by default the workers share 60 % of what there is.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(run)
    app.command(hidden=True)(worker)
    app.command()(describe)


def run(
    pipeline: PipelineFile,
    workers: Annotated[int, typer.Option("--workers", min=1, max=64, help="Processes for each group of stages.")] = 1,
    stages: Stages = "all",
    delivery: Delivery = "exactly-once",
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    trust_model: Trusted = None,
    metrics_port: Annotated[
        int,
        typer.Option("--metrics-port", help="First worker's Prometheus port; the next take the next. 0: any free one."),
    ] = 9464,
    metrics_host: Annotated[
        str, typer.Option("--metrics-host", help="Address that the metrics are served on.")
    ] = "127.0.0.1",
    max_batch: Annotated[int, typer.Option("--max-batch", min=1, help="Most events in one transaction.")] = 10_000,
    snapshots: SnapshotsOption = "",
    max_state: MaxState = None,
    log_level: LogLevel = "INFO",
) -> None:
    """Run a pipeline: create its topics, publish its contracts, and start its workers.

    Ends on Ctrl-C or SIGTERM, after every worker has committed what it had in hand. Start it on more machines to
    share the load.

    Examples:
        tidemill run flights.py
        tidemill run flights.py --workers 4 --bootstrap-servers kafka-1:9092,kafka-2:9092
        tidemill run flights.py --stages each --delivery at-least-once

    """
    from tidemill.cli.processes import start_workers, worker_groups
    from tidemill.loading import load_pipeline
    from tidemill.streams.kafka.connection import Connection
    from tidemill.streams.state_watch import SHARE, memory_limit

    log_to_stderr("supervisor", log_level)
    connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
    plan = load_pipeline(pipeline).plan()
    stop = stop_signal()
    supervisor = start_workers(
        pipeline,
        plan,
        connection,
        groups=worker_groups(plan, stages),
        workers=workers,
        registry_url=registry_url,
        options=[
            "--delivery",
            delivery,
            "--max-batch",
            str(max_batch),
            "--max-state",
            str(max_state or max(1, int(memory_limit() * SHARE / 1e6) // (workers * len(worker_groups(plan, stages))))),
            "--snapshots",
            "off" if snapshots == "off" else str(Path(snapshots or home() / "state").absolute()),
            *(a for sha in trust_model or [] for a in ("--trust-model", sha)),
        ],
        metrics=(metrics_host, metrics_port),
        log_level=log_level,
    )
    supervisor.run(stop.is_set)


def worker(
    pipeline: PipelineFile,
    stages: Stages = "all",
    slot: Annotated[str, typer.Option("--slot")] = "0",
    delivery: Delivery = "exactly-once",
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    trust_model: Trusted = None,
    metrics_port: Annotated[int, typer.Option("--metrics-port")] = 0,
    metrics_host: Annotated[str, typer.Option("--metrics-host")] = "127.0.0.1",
    max_batch: Annotated[int, typer.Option("--max-batch", min=1)] = 10_000,
    snapshots: SnapshotsOption = "off",
    max_state: MaxState = None,
    log_level: LogLevel = "INFO",
    note: Annotated[Path | None, typer.Option("--note", help="Where to write pid and metrics address.")] = None,
) -> None:
    """One worker process; it stops when its standard input closes."""
    from tidemill.cli.processes import worker_groups
    from tidemill.loading import load_pipeline
    from tidemill.streams.health import Health, serve
    from tidemill.streams.kafka.connection import Connection
    from tidemill.streams.loop import LoopOptions
    from tidemill.streams.metrics import Metrics
    from tidemill.streams.supervisor import FAILED
    from tidemill.streams.worker import WorkerOptions, run_worker

    log_to_stderr(slot, log_level)
    plan = load_pipeline(pipeline).plan()
    (group,) = worker_groups(plan, stages)
    folder = None if snapshots == "off" else Path(snapshots)
    options = WorkerOptions(
        group,
        slot,
        delivery,
        registry_url,
        tuple(trust_model or ()),
        folder,
        None if max_state is None else max_state * 1_000_000,
        LoopOptions(max_records=max_batch),
        None if note is None else note.with_suffix(".calls"),
    )
    stop = stop_signal()
    threading.Thread(target=stop_with_parent, args=(stop,), daemon=True).start()
    metrics = Metrics()
    health = Health(time.monotonic)
    try:
        port = serve(metrics.registry, health, metrics_host, metrics_port)
    except OSError:
        port = serve(metrics.registry, health, metrics_host, 0)
        logging.getLogger(__name__).warning("metrics port %d is taken; serving on %d", metrics_port, port)
    if note is not None:
        note.write_text(
            json.dumps({"pid": os.getpid(), "stages": group, "slot": slot, "metrics": f"{metrics_host}:{port}"})
        )
    connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
    try:
        run_worker(plan, connection, options, metrics, health.watching(stop.is_set))
    except StreamError as error:
        logging.getLogger(__name__).error("%s", error)
        raise typer.Exit(FAILED) from None


def describe(pipeline: PipelineFile, as_json: AsJson = False) -> None:
    """Show what a pipeline does: its topics, contracts, stages, checks and features, without any cluster."""
    from tidemill.loading import load_pipeline

    plan = load_pipeline(pipeline).plan()
    if as_json:
        print_json(_description(plan))
        return
    out.print(f"[bold]{plan.name}[/bold], version {plan.version}, keyed by {plan.event_key}")
    for stage in plan.stages:
        outputs = ", ".join(_outputs(plan, stage))
        out.print(f"  {plan.input_of(stage)} → [bold]{stage}[/bold] → {outputs}")
    for key in plan.hops:
        out.print(f"  windows on {key} cost one hop, because events are keyed by {plan.event_key}")
    rows = [{"topic": s.name, "partitions": s.partitions or plan.partitions, "holds": s.purpose} for s in plan.topics()]
    print_table("\nTopics", rows)
    features = [
        {"field": f.name, "type": str(f.arrow), "nullable": f.nullable} for f in plan.contracts["features"].fields
    ]
    print_table("\nFeatures", features)


def _description(plan: Plan) -> dict[str, object]:
    return {
        "name": plan.name,
        "version": plan.version,
        "stages": [{"stage": s, "input": plan.input_of(s), "output": plan.output_of(s)} for s in plan.stages],
        "hops": [
            {"key": k, "topic": plan.hop_topic(k), "reason": f"events are keyed by {plan.event_key}"} for k in plan.hops
        ],
        "topics": [
            {
                "name": s.name,
                "partitions": s.partitions or plan.partitions,
                "config": dict(s.config),
                "holds": s.purpose,
            }
            for s in plan.topics()
        ],
        "contracts": {
            plan.topic(k): {"fingerprint": c.fingerprint_hex, "schema": c.schema} for k, c in plan.contracts.items()
        },
        "declaration": plan.description,
    }


def _outputs(plan: Plan, stage: str) -> list[str]:
    """The topics that a stage's rows go to."""
    hops = [plan.hop_topic(key) for key in plan.hops] if stage == STAGES[1] else []
    scored = [plan.topic(SCORED)] if stage == STAGES[2] and plan.make_outcomes is not None else []
    return [*hops, plan.output_of(stage), *scored]


def stop_signal() -> threading.Event:
    """Set by SIGTERM and by Ctrl-C; SIGUSR1 has all threads' stacks written to standard error."""
    # By number: whoever runs a command inside a process of their own may have put something else in its place.
    faulthandler.register(signal.SIGUSR1, 2, all_threads=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def stop_with_parent(stop: threading.Event) -> None:
    """Set it when standard input closes: whoever started this process is gone."""
    # Not sys.stdin, whose lock the interpreter would want at its end: it aborts when a thread holds it.
    while os.read(0, 1):
        pass
    stop.set()


def log_to_stderr(name: str, level: str) -> None:
    """Log as logfmt, under the name of a worker."""
    from tidemill.streams.log_format import Logfmt

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Logfmt(name))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("tidemill.librdkafka").setLevel(logging.WARNING)
    # Of what it compiles it would tell every step, a hundred thousand lines at DEBUG.
    logging.getLogger("numba").setLevel(logging.WARNING)
