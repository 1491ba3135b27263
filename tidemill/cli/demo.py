"""`tidemill demo`."""

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.table import Table

from tidemill.cli.options import Bootstrap, home, out, plain, print_table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the summary to this file.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="How long February to December takes; 0: as fast as it goes.")
    ] = 60.0,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=16, help="Worker processes for each group of stages.")
    ] = 1,
    stages: Annotated[
        str, typer.Option("--stages", help="`all` fused in each worker, or `each` in a worker of its own.")
    ] = "all",
    bootstrap_servers: Bootstrap = None,
) -> None:
    """Run a year of real flights from New York through a real Kafka.

    Starts a broker and workers, sends January, trains on it, sends the rest of 2013, and proves at the end that
    every event was answered exactly once. Everything it starts ends with it; its data stays in .tidemill/demo until
    the next run.

    Examples:
        tidemill demo
        tidemill demo --seconds 0 --workers 2 --json summary.json

    """
    from tidemill.demo.run import DemoOptions, run_demo
    from tidemill.demo.view import View
    from tidemill.schemas.errors import DeclarationError

    if stages not in ("all", "each"):
        raise DeclarationError(f"--stages: expected all or each, got {stages!r}")
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        summary = run_demo(DemoOptions(seconds, workers, stages, bootstrap_servers), home(), View(out))
    except KeyboardInterrupt:
        out.print("stopped; broker and workers have ended")
        raise typer.Exit(130) from None
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(plain(summary), indent=2) + "\n")
    _show(summary)
    if json_file is not None:
        out.print(f"\nwritten to {json_file}")
    raise typer.Exit(0 if summary["missing"] == summary["doubled"] == 0 else 1)


def _show(summary: dict[str, Any]) -> None:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", justify="right")
    table.add_column()
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in summary["rejected_by_reason"].items())
    loss = summary["log_loss"]
    rows = {
        "events": f"{summary['events']:,}",
        "predictions": f"{summary['predictions']:,}",
        "rejections": f"{summary['rejections']:,} ({reasons})",
        "audit": f"{summary['missing']} missing, {summary['doubled']} doubled",
        "throughput": f"{summary['burst_events_per_second']:,.0f} events/s in January's burst,"
        f" {summary['events_per_second']:,.0f} in the paced rest",
        "latency": f"p50 {summary['latency_ms']['p50']:.0f} ms, p99 {summary['latency_ms']['p99']:.0f} ms from send to"
        " subscriber, in the paced rest",
        "log-loss": f"{loss['model']:.4f}; always answering January's base rate {loss['base_rate']:.4f}",
        "AUC": f"{summary['auc']:.4f} on {summary['labelled_predictions']:,} labelled predictions (a guess: 0.5)",
    }
    for name, text in {**rows, **_drift_rows(summary), **_loop_rows(summary)}.items():
        table.add_row(name, text)
    out.print("\n[bold]A year of flights[/bold]")
    out.print(table)
    _show_retrains(summary)
    out.print(f"\ndrift week by week: {summary['report']}", markup=False)
    out.print("each training job with its trials, figures and model card: tidemill mlflow")


def _drift_rows(summary: dict[str, Any]) -> dict[str, str]:
    labels, incidents = summary["labels"], summary["incidents"]
    median = labels["delay_seconds"]["p50"]
    told = ", ".join(f"{reason} {count:,}" for reason, count in labels["rejected_by_reason"].items()) or "none"
    kinds = Counter(incident["kind"] for incident in incidents)
    parts = {name: f"{part['log_loss']:.4f} in {part['flights']:,}" for name, part in summary["performance"].items()}
    return {
        "labels": f"{labels['joined']:,} joined, half of them within {median / 3600:.1f} h; rejected: {told}",
        "drift": f"{len(incidents)} incidents: " + ", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items())),
        "log-loss while concepts drifted": ", else ".join(parts.values()) + " flights",
    }


def _loop_rows(summary: dict[str, Any]) -> dict[str, str]:
    static, adaptive = summary["loop"]["static"], summary["loop"]["adaptive"]
    held = ", ".join(f"{rule} {count}" for rule, count in summary["suppressed"].items()) or "none"
    return {
        "January's model alone": f"log-loss {static['log_loss']:.4f}, AUC {static['auc']:.4f}",
        "with the loop": f"log-loss {adaptive['log_loss']:.4f}, AUC {adaptive['auc']:.4f}, the same"
        f" {adaptive['flights']:,} flights",
        "triggers": f"{len(summary['retrains'])} fired; suppressed: {held}",
    }


def _show_retrains(summary: dict[str, Any]) -> None:
    rows = [
        {
            "trigger": each["at"],
            "because of": each["trigger"],
            "job": each["job"] or "queued",
            "model": each["model_version"],
            "rollout": " → ".join(each["rollout"]),
            "why": each["verdict"] if each["job"] == "refused" else each["last"],
        }
        for each in summary["retrains"]
    ]
    if rows:
        print_table("\nRetrains", rows)


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt
