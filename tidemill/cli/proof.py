"""`tidemill audit` and `tidemill status`."""

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from tidemill.cli.options import (
    AsJson,
    Bootstrap,
    PipelineName,
    RegistryUrl,
    err,
    out,
    plain,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from tidemill.local_workers import WorkerStatus


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(audit)
    app.command()(status)


def audit(
    pipeline: PipelineName,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    as_json: AsJson = False,
) -> None:
    """Prove from the topics alone that every event became exactly one prediction or exactly one rejection.

    Exits with 1, naming the first offsets, where that does not hold. Events that the last stage has not reached yet are
    counted as waiting. Memory does not grow with the topics.

    Example:
        tidemill audit flights

    """
    from tidemill.cli.clients import client_for
    from tidemill.streams.audit import audit as run_audit
    from tidemill.streams.kafka.reader import KafkaReader

    columns = (SpinnerColumn(), TextColumn("reading {task.completed:,} records"), TimeElapsedColumn())
    with (
        client_for(pipeline, bootstrap_servers, registry_url) as client,
        Progress(*columns, console=err, transient=True) as bar,
    ):
        task = bar.add_task("", total=None)
        reader = KafkaReader(client.connection)
        results = run_audit(
            client.name, client.contract("predictions"), client.schemas, reader, lambda n: bar.advance(task, n)
        )
        reader.close()
    counted = ("events", "predictions", "rejections", "missing", "doubled", "waiting", "unknown", "retried")
    rows = [{"partition": r.partition, **{name: getattr(r, name) for name in counted}} for r in results]
    total: dict[str, Any] = {name: sum(getattr(r, name) for r in results) for name in counted}
    holds = all(r.holds for r in results)
    if as_json:
        print_json({"pipeline": client.name, "holds": holds, **total, "partitions": results})
    else:
        print_table(f"Audit of {client.name}", [*rows, {"partition": "all", **total}])
        for r in results:
            for what, offsets in (("missing", r.first_missing), ("doubled", r.first_doubled)):
                if offsets:
                    err.print(f"{what}: {client.name}.events[{r.partition}]@{', '.join(map(str, offsets))}")
        verdict = "every event is answered exactly once" if holds else "conservation does NOT hold"
        out.print(f"{verdict}; {total['waiting']:,} waiting" if total["waiting"] else verdict)
    raise typer.Exit(0 if holds else 1)


def status(pipeline: PipelineName, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """Show a pipeline on the cluster: topics, workers and how far each stage is behind, the model announced last.

    Of the workers on this machine also what each says of itself: whether it is ready, the model that it serves, its
    last commit, its state. Whether a worker elsewhere serves the model or has refused it is in its log and metrics.

    Example:
        tidemill status flights

    """
    from tidemill.cli.clients import client_for
    from tidemill.cli.processes import notes_folder
    from tidemill.local_workers import local_workers
    from tidemill.status import pipeline_status

    with client_for(pipeline, bootstrap_servers) as client:
        found = pipeline_status(client)
    workers = list(local_workers(notes_folder(found.name)))
    if as_json:
        print_json({**asdict(found), "workers": workers})
        return
    out.print(f"[bold]{found.name}[/bold] on {found.bootstrap_servers}")
    print_table("\nTopics", [{"topic": t.name, "partitions": t.partitions, "records": t.records} for t in found.topics])
    groups = [{"group": g.name, "lag": g.lag, "workers": ", ".join(g.workers) or "none"} for g in found.groups]
    print_table("\nStages", groups) if groups else out.print("\nno worker has run yet")
    if workers:
        print_table("\nWorkers on this machine", [_worker_row(worker, time.time()) for worker in workers])
    out.print(f"\nmodel announced last: {plain(found.announced_model) or 'none yet'}")


def _worker_row(worker: "WorkerStatus", now: float) -> dict[str, object]:
    return {
        "pid": worker.pid,
        "stages": ", ".join(worker.stages),
        "ready": "does not answer" if worker.ready is None else worker.ready,
        "accepted": worker.accepted,
        "rejected": worker.rejected,
        "last commit": f"{now - worker.last_commit:.0f} s ago" if worker.last_commit else "none",
        "model": worker.model or "prior",
        "keys": worker.state_keys,
        "state": f"{worker.state_bytes / 1e6:.1f} MB",
    }
