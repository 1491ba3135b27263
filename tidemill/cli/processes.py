"""Starting a pipeline's workers as processes: for `run` and for the demo."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tidemill.cli.options import home
from tidemill.schemas.errors import StreamError
from tidemill.streams.kafka.admin import apply_topics, describe_group
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.plan import Plan, stage_group
from tidemill.streams.schema_topic import SchemaTopic, publish_contracts
from tidemill.streams.supervisor import Slot, Supervisor
from tidemill.streams.worker import group_name


def prepare_cluster(plan: Plan, connection: Connection) -> None:
    """Create what topics are missing, and publish the contracts unless they break the former ones."""
    apply_topics(connection, plan.topics())
    schemas = SchemaTopic(Follower(connection, plan.topic("schemas")))
    publish_contracts(plan.name, plan.published, schemas, Publisher(connection))


def notes_folder(name: str) -> Path:
    """Where the workers of a pipeline leave their pid and metrics address."""
    return home() / "run" / name


def start_workers(
    reference: str,
    plan: Plan,
    connection: Connection,
    *,
    groups: Sequence[tuple[str, ...]],
    workers: int = 1,
    registry_url: str | None = None,
    options: Sequence[str] = (),
    metrics: tuple[str, int] = ("127.0.0.1", 0),
    log_level: str = "INFO",
) -> Supervisor:
    """Prepare the cluster, then start `workers` processes for each group of stages."""
    for group in groups:
        plan.require_layout(group)
    prepare_cluster(plan, connection)
    for group in groups:
        for task in plan.tasks(group):
            _refuse_other_layout(plan, connection, task)
    host, port = metrics
    commands: list[list[str]] = []
    slots = []
    for group in groups:
        for _ in range(workers):
            slot = Slot.take(notes_folder(plan.name), "+".join(group))
            slots.append(slot)
            command = [
                sys.executable,
                "-m",
                "tidemill",
                "worker",
                reference,
                "--stages",
                "all" if group == plan.stages else ",".join(group),
            ]
            command += ["--slot", slot.name, "--bootstrap-servers", connection.bootstrap_servers, *options]
            command += [
                "--log-level",
                log_level,
                "--metrics-host",
                host,
                "--metrics-port",
                str(port + len(commands) if port else 0),
            ]
            command += ["--note", str(slot.folder / f"{'+'.join(group)}.{re.sub(r'.*-', '', slot.name)}.json")]
            commands.append(command)
    # By the environment: a command line can be read by every user of the machine, and a URL may hold a password.
    registry = {"TIDEMILL_REGISTRY_URL": registry_url} if registry_url else {}
    return Supervisor(commands, _threads(len(commands)) | registry, slots)


def _threads(workers: int) -> dict[str, str]:
    """Share the cores between workers, whose libraries would each take all; BLAS gets one, to add in one order.

    Half of a worker's cores are left to the client's own threads and to the commit of the batch before: a pool of as
    many threads as cores takes longer for the same work, since each small step waits for a thread to wake up.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    share = str(max(1, cores // (2 * workers)))
    return {
        "POLARS_MAX_THREADS": share,
        "NUMBA_NUM_THREADS": share,
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
    }


def worker_groups(plan: Plan, stages: str) -> list[tuple[str, ...]]:
    """The stages of each kind of worker: `all` in one, `each` in one of its own, or those that are listed."""
    if stages == "all":
        return [plan.stages]
    if stages == "each":
        return [(stage,) for stage in plan.stages]
    return [stage_group([name.strip() for name in stages.split(",")], plan.segments)]


def _refuse_other_layout(plan: Plan, connection: Connection, group: tuple[str, ...]) -> None:
    """A stage must not run fused here and by itself there: both would process the same events."""
    for stage in plan.stages:
        for member in describe_group(connection, group_name(plan, (stage,))).members:
            theirs = tuple(member.removeprefix(f"{plan.name}.").split(".")[0].split("+"))
            if theirs != group and set(theirs) & set(group):
                raise StreamError(
                    f"{member} already runs {', '.join(theirs)}; workers that run {', '.join(group)} would process"
                    " the same events: stop it first, or start with the same --stages"
                )
