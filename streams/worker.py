"""One worker process: a group of stages of a pipeline, connected to Kafka."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from tidemill.processors.online_inference.artefact import preload
from tidemill.schemas.errors import DeclarationError, nearest
from tidemill.schemas.framing import Confluent
from tidemill.streams.deadline import Deadline
from tidemill.streams.in_flight import InFlight
from tidemill.streams.kafka.committer import AtLeastOnce, ExactlyOnce
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.kafka.registry import Registry
from tidemill.streams.kafka.source import KafkaSource
from tidemill.streams.loop import Followed, Loop, LoopOptions
from tidemill.streams.metrics import Metrics
from tidemill.streams.models import ModelFollower
from tidemill.streams.plan import Plan
from tidemill.streams.ports import Committer
from tidemill.streams.schema_topic import SchemaTopic
from tidemill.streams.tables import TableFollower
from tidemill.streams.task import Task

log = logging.getLogger(__name__)
DELIVERY = ("exactly-once", "at-least-once")


@dataclass(frozen=True)
class WorkerOptions:
    """How one worker runs. `slot` is its place among the workers: stable over restarts, of one process at a time."""

    stages: Sequence[str]
    slot: str = "0"
    delivery: str = "exactly-once"
    registry_url: str | None = None
    trusted_models: tuple[str, ...] = ()
    loop: LoopOptions = field(default_factory=LoopOptions)

    def __post_init__(self) -> None:
        if self.delivery not in DELIVERY:
            raise DeclarationError(f"there is no delivery {self.delivery!r}{nearest(self.delivery, DELIVERY)}")


def group_name(plan: Plan, stages: Sequence[str]) -> str:
    """The consumer group: workers whose first stage is the same share that stage's input."""
    return f"{plan.name}.{stages[0]}"


def run_worker(
    plan: Plan, connection: Connection, options: WorkerOptions, metrics: Metrics, stop: Callable[[], bool]
) -> None:
    """Run until `stop` says so. Raises DeclarationError if the pipeline does not publish what lies between workers."""
    plan.require_layout(options.stages)
    group, place = group_name(plan, options.stages), f"{plan.name}.{'+'.join(options.stages)}.{options.slot}"
    reader = KafkaReader(connection, group)
    registry = Registry(options.registry_url) if options.registry_url else None
    stream = Follower(connection, plan.topic("schemas"))
    schemas = SchemaTopic(stream, registry, wait=plan.schema_wait_seconds)
    for contract in plan.contracts.values():
        schemas.add(contract)

    def prefix(suffix: str) -> bytes | None:
        if registry is None:
            return None
        return Confluent(registry.register(plan.topic(suffix), plan.contracts[suffix])).prefix

    task = Task(plan, options.stages, schemas, reader, prefix)
    followed: list[Followed] = []
    if "feature_enrichment" in options.stages:
        followed += [TableFollower(table, Follower(connection, table.topic), schemas) for table in plan.topic_tables]
    if task.inference is not None:
        preload()
        stream = Follower(connection, plan.topic("models"))
        followed.append(
            ModelFollower(
                plan,
                task.inference,
                stream,
                KafkaReader(connection),
                options.trusted_models,
                metrics.serves,
                lambda: Deadline(plan.model_deadline_seconds),
            )
        )
    executor = ThreadPoolExecutor(1, thread_name_prefix="commit")
    in_flight = InFlight(task, executor)
    source = KafkaSource(connection, task.input_topic, group, place, in_flight)
    committer: Committer
    if options.delivery == "exactly-once":
        committer = ExactlyOnce(connection, source, task.input_topic, plan.topic("changelog"), place)
    else:
        committer = AtLeastOnce(connection, source, task.input_topic, plan.topic("changelog"), place)
    log.info("worker %s reads %s, %s", place, task.input_topic, options.delivery)
    loop = Loop(
        task,
        source,
        committer,
        followed=followed,
        metrics=metrics,
        now=time.time,
        options=options.loop,
        in_flight=in_flight,
    )
    try:
        loop.run(stop)
    finally:
        executor.shutdown()
        if registry is not None:
            registry.close()
    log.info("worker %s has stopped", place)
