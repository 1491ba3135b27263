"""`tidemill retrain`, `triggers` and `jobs`: why new models are wanted, and the jobs that make them."""

import base64
import getpass
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tidemill.cli.archive import Root, archives
from tidemill.cli.options import (
    DEFAULT_BOOTSTRAP,
    AsJson,
    Bootstrap,
    MetricsHost,
    MetricsPort,
    PipelineFile,
    PipelineName,
    RegistryUrl,
    home,
    moment,
    out,
    plain,
    print_json,
    print_table,
)
from tidemill.cli.run import Trusted
from tidemill.results import RetrainTrigger, TrainingJob
from tidemill.schemas.errors import DeclarationError, nearest

# Threads that wait for each other at every split of a tree are slower than one, where workers want the cores as well.
_ONE_THREAD = {
    name: os.environ.get(name, "1") for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
}
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The job, by its id: that of its trigger.")]
Who = Annotated[str | None, typer.Option("--who", help="Who does it; by default the user of this machine.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(retrain)
    app.command()(triggers)
    app.command(hidden=True)(job)
    jobs = typer.Typer(help="Training jobs: run them, and see how they stand.", no_args_is_help=True)
    jobs.command("run")(run_jobs)
    jobs.command("list")(list_jobs)
    jobs.command("show")(show_job)
    jobs.command("cancel")(cancel_job)
    app.add_typer(jobs, name="jobs")


def retrain(
    pipeline: PipelineName,
    reason: Annotated[str, typer.Option("--reason", help="Why; it stands in the trigger and in the job.")],
    since: Annotated[str | None, typer.Option(help="Learn only from events from this time on.")] = None,
    request_id: Annotated[
        str | None, typer.Option("--id", help="Names the request: the same one twice is done once.")
    ] = None,
    who: Who = None,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a new model. The control plane makes a trigger of it, and a job runner a job.

    Example:
        tidemill retrain flights --reason 'the new terminal has opened' --since 2013-06-01

    """
    from tidemill.cli.clients import client_for

    with client_for(pipeline, bootstrap_servers) as client:
        made = client.retrain(who or getpass.getuser(), reason=reason, since=moment(since), request_id=request_id)
    if as_json:
        print_json({"request_id": made})
    else:
        out.print(f"asked for a new model: request {made}")


def triggers(
    pipeline: PipelineName,
    fired: Annotated[bool, typer.Option("--fired", help="Only those that a job follows from.")] = False,
    bootstrap_servers: Bootstrap = None,
    as_json: AsJson = False,
) -> None:
    """List why new models were wanted, and what suppressed it.

    Example:
        tidemill triggers flights --fired

    """
    from tidemill.cli.clients import client_for

    with client_for(pipeline, bootstrap_servers) as client:
        found = [each for each in client.triggers() if not fired or each.state == "fired"]
    if as_json:
        for each in found:
            print_json({**asdict(each), "evidence": json.loads(each.evidence)})
    elif found:
        print_table(f"Retrain triggers of {client.name}", [_trigger_row(each) for each in found])
    else:
        out.print(f"{client.name} has no retrain triggers")


def list_jobs(pipeline: PipelineName, bootstrap_servers: Bootstrap = None, as_json: AsJson = False) -> None:
    """List the training jobs, the last one to change at the end.

    Example:
        tidemill jobs list flights

    """
    from tidemill.cli.clients import client_for

    with client_for(pipeline, bootstrap_servers) as client:
        found = client.jobs()
    if as_json:
        for each in found:
            print_json(_job_json(each))
    elif found:
        print_table(f"Training jobs of {client.name}", [_job_row(each) for each in found])
    else:
        out.print(f"{client.name} has no training jobs yet; `tidemill jobs run` runs them")


def show_job(
    pipeline: PipelineName, job_id: JobId, bootstrap_servers: Bootstrap = None, as_json: AsJson = False
) -> None:
    """Show a job: its trigger, how it stands, what it measured, and the verdict of each gate.

    Example:
        tidemill jobs show flights 9bb5491cf625e8b4

    """
    from tidemill.cli.clients import client_for

    with client_for(pipeline, bootstrap_servers) as client:
        known = {each.id: each for each in client.jobs()}
        if job_id not in known:
            raise DeclarationError(f"pipeline {client.name} has no job {job_id!r}{nearest(job_id, known)}")
        found, cause = known[job_id], next((each for each in client.triggers() if each.id == job_id), None)
    if as_json:
        print_json({**_job_json(found), "trigger": None if cause is None else asdict(cause)})
        return
    out.print(f"job [bold]{found.id}[/bold] {found.state}, attempt {found.attempt}, {plain(found.at)[:19]}")
    if cause is not None:
        out.print(f"  trigger     {cause.cause} at {plain(cause.at)[:19]}: {cause.reason}", markup=False)
    for name in ("step", "reason", "dataset", "candidate", "model_version", "runner"):
        if getattr(found, name):
            out.print(f"  {name.replace('_', ' '):<11} {getattr(found, name)}", markup=False)
    for name, value in sorted(found.metrics.items()):
        out.print(f"  {name:<24} {value:.4f}")
    verdicts = json.loads(found.gates)
    if verdicts:
        rows = [{"gate": v["name"], "passed": v["passed"], "why": v["message"]} for v in verdicts]
        print_table("Gates", rows)


def cancel_job(
    pipeline: PipelineName,
    job_id: JobId,
    reason: Annotated[str, typer.Option("--reason", help="Why.")] = "",
    who: Who = None,
    bootstrap_servers: Bootstrap = None,
) -> None:
    """Have a job ended, or not begun.

    Example:
        tidemill jobs cancel flights 9bb5491cf625e8b4

    """
    from tidemill.cli.clients import client_for

    with client_for(pipeline, bootstrap_servers) as client:
        client.cancel_job(job_id, who or getpass.getuser(), reason=reason)
    out.print(f"job {job_id} is to end")


def run_jobs(
    pipeline: PipelineFile,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="Stop when every trigger that is there is answered.")
    ] = False,
    minutes: Annotated[float, typer.Option("--minutes", min=0.01, help="The longest that a job may take.")] = 60.0,
    memory: Annotated[
        int | None, typer.Option("--memory", min=100, help="The most memory of a job, in megabytes.")
    ] = None,
    attempts: Annotated[
        int, typer.Option("--attempts", min=1, help="How often a job may fail before it has failed for good.")
    ] = 3,
    backoff: Annotated[float, typer.Option("--backoff", min=0, help="Seconds before the second attempt.")] = 10.0,
    launcher: Annotated[
        str, typer.Option("--launcher", help="Where jobs run: `local` processes, or `kubernetes`.")
    ] = "local",
    manifest: Annotated[
        str | None, typer.Option("--manifest", help="With kubernetes: the Job's manifest, as in deploy/.")
    ] = None,
    ahead: Annotated[
        bool,
        typer.Option(
            help="Keep a process ready for the next job, which then begins some seconds sooner; takes 0.4 GB of memory."
        ),
    ] = False,
    tracking: Annotated[bool, typer.Option(help="Write each job down in MLflow.")] = True,
    lineage: Annotated[
        str | None,
        typer.Option(
            "--lineage",
            envvar="TIDEMILL_LINEAGE",
            help="Where OpenLineage run events go: a file, the URL of a server, or `topic` for P.lineage.",
        ),
    ] = None,
    root: Root = None,
    trust_model: Trusted = None,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = "127.0.0.1",
    log_level: Annotated[str, typer.Option("--log-level", help="DEBUG, INFO, WARNING or ERROR.")] = "INFO",
) -> None:
    """Run training jobs as triggers come. Start it on more machines to run more of them at a time.

    Each job is a process of its own. A runner may be killed at any moment: another one, or the next one, takes its job
    up again.

    Examples:
        tidemill jobs run flights.py
        tidemill jobs run flights.py --minutes 30 --memory 4000

    """
    from tidemill.cli.run import log_to_stderr, stop_signal
    from tidemill.continuous_training import publisher
    from tidemill.continuous_training.bookkeeper import Bookkeeper
    from tidemill.loading import load_pipeline
    from tidemill.streams.health import Health
    from tidemill.streams.health import serve as serve_metrics
    from tidemill.streams.jobs import LocalProcess
    from tidemill.streams.jobs.kubernetes import KubernetesJob
    from tidemill.streams.jobs.launcher import Launcher, Limits
    from tidemill.streams.jobs.metrics import JobMetrics
    from tidemill.streams.jobs.runner import RunnerOptions
    from tidemill.streams.jobs.service import run_jobs as serve
    from tidemill.streams.kafka.admin import apply_topics
    from tidemill.streams.kafka.connection import Connection
    from tidemill.streams.kafka.publisher import Publisher
    from tidemill.streams.lineage import open_lineage
    from tidemill.streams.supervisor import Slot
    from tidemill.streams.tracking import Tracking

    log_to_stderr("jobs", log_level)
    declared = load_pipeline(pipeline)
    plan = declared.plan()
    if declared.retrain is None:
        raise DeclarationError(f"pipeline {plan.name} declares no retraining: add retrain=tm.Retrain(...)")
    if launcher not in ("local", "kubernetes"):
        raise DeclarationError(
            f"--launcher: there is none {launcher!r}{nearest(launcher, ('local', 'kubernetes'))}; expected local or"
            " kubernetes"
        )
    connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
    # A target that is none is an error here; later, whatever becomes of it, no job fails by it.
    open_lineage(lineage, plan.name, lambda: Publisher(connection))
    own = {plan.topic(suffix) for suffix in ("retrain-requests", "retrain-triggers", "training-jobs", "models")}
    apply_topics(connection, [spec for spec in plan.topics() if spec.name in own])
    limits = Limits(minutes * 60, memory)
    command = [sys.executable, "-m", "tidemill", "job", pipeline, "--bootstrap-servers", connection.bootstrap_servers]
    command += [*(a for sha in trust_model or [] for a in ("--trust-model", sha)), "--archive", archives(root)]
    command += ["--leave-tracking"] if tracking else ["--no-tracking"]
    # By the environment: a command line can be read by every user of the machine, and a URL may hold a password.
    registry = {"TIDEMILL_REGISTRY_URL": registry_url} if registry_url else {}
    environment = {**_ONE_THREAD, **registry, **({"TIDEMILL_LINEAGE": lineage} if lineage else {})}
    metrics, health = JobMetrics(), Health(time.monotonic)
    if metrics_port is not None:
        serve_metrics(metrics.registry, health, metrics_host, metrics_port)
    slot = Slot.take(home() / "run" / plan.name, "jobs")
    local = launcher == "local"
    processes = LocalProcess(
        [*command, "--log-level", log_level], limits, environment=environment, ahead=ahead and local
    )
    made: Launcher = processes if local else KubernetesJob(manifest, limits)
    books = Bookkeeper(plan, connection, Tracking(plan.name, folder=home() / "mlflow"), _left(plan.name))
    try:
        with books if tracking else nullcontext():
            serve(
                plan.name,
                connection,
                slot.name,
                made,
                publisher(declared, connection),
                health.watching(stop_signal().is_set),
                RunnerOptions(attempts=attempts, backoff=backoff),
                until_idle=until_idle,
                metrics=metrics,
            )
    finally:
        processes.close()
        slot.release()


def _left(pipeline: str) -> Path:
    """Where local jobs leave what MLflow is to be told of them."""
    return home() / "mlflow" / "to-be-told" / pipeline


def job(
    pipeline: PipelineFile,
    tracking: Annotated[bool, typer.Option()] = True,
    leave_tracking: Annotated[bool, typer.Option("--leave-tracking")] = False,
    root: Root = None,
    trust_model: Trusted = None,
    bootstrap_servers: Bootstrap = None,
    registry_url: RegistryUrl = None,
    log_level: Annotated[str, typer.Option("--log-level")] = "INFO",
) -> None:
    """One training job: what it tells goes to standard output.

    Its specification is in TIDEMILL_JOB, in base64, or comes on standard input, and then it ends when that closes.
    """
    from tidemill.cli.run import log_to_stderr
    from tidemill.continuous_training.context import JobContext
    from tidemill.continuous_training.job import end_with_runner, run_job, warm
    from tidemill.loading import load_pipeline
    from tidemill.streams.archive import Archive
    from tidemill.streams.kafka.connection import Connection
    from tidemill.streams.kafka.registry import Registry

    log_to_stderr("job", log_level)
    # What takes seconds to import comes first: a process may be started before there is a job for it.
    warm(tracking=tracking)
    declared = load_pipeline(pipeline)
    given = os.environ.get("TIDEMILL_JOB")
    text = base64.b64decode(given).decode() if given else sys.stdin.readline()
    if not text:
        return
    spec = json.loads(text)
    if not given:
        end_with_runner()
    connection = Connection.from_environment(bootstrap_servers, DEFAULT_BOOTSTRAP)
    registry = Registry(registry_url) if registry_url else None
    trusted = tuple(trust_model or ())
    archive = Archive(f"{archives(root)}/{declared.name}")
    result = run_job(
        JobContext(
            declared,
            connection,
            spec,
            archive,
            home(),
            _tell,
            registry,
            trusted,
            os.environ.get("TIDEMILL_LINEAGE"),
            tracking,
            _left(declared.name) if leave_tracking else None,
        )
    )
    _say({"result": result})


def _tell(step: str, progress: float) -> None:
    _say({"step": step, "progress": progress})


def _say(message: Mapping[str, Any]) -> None:
    sys.stdout.write(json.dumps(plain(message), default=str) + "\n")
    sys.stdout.flush()


def _trigger_row(trigger: RetrainTrigger) -> dict[str, Any]:
    return {
        "id": trigger.id,
        "at": plain(trigger.at)[:16],
        "state": trigger.state,
        "cause": trigger.cause,
        "suppressed by": trigger.suppressed_by or "",
        "reason": trigger.reason,
    }


def _job_row(job: TrainingJob) -> dict[str, Any]:
    return {
        "id": job.id,
        "state": job.state,
        "attempt": job.attempt,
        "progress": f"{job.progress:.0%}",
        "cause": job.cause,
        "model": job.model_version,
        "candidate": job.candidate,
        "reason": job.reason or job.step,
    }


def _job_json(job: TrainingJob) -> dict[str, Any]:
    return {**asdict(job), "metrics": dict(job.metrics), "gates": json.loads(job.gates)}
