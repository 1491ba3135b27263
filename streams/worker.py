"""One worker process: a group of stages of a pipeline, connected to Kafka."""

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

from tidemill.processors.feature_enrichment.hops import ASSEMBLY
from tidemill.processors.online_inference.artefact import preload
from tidemill.processors.outcomes import LABEL_INTAKE, OUTCOMES
from tidemill.schemas.errors import DeclarationError, nearest
from tidemill.schemas.framing import Confluent
from tidemill.streams.deadline import Deadline
from tidemill.streams.hops.tasks import make_task
from tidemill.streams.in_flight import InFlight
from tidemill.streams.kafka.committer import AtLeastOnce, ExactlyOnce
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.kafka.registry import Registry
from tidemill.streams.kafka.source import KafkaSource
from tidemill.streams.last_calls import LastCalls
from tidemill.streams.loop import Followed, Loop, LoopOptions, run_in_turn
from tidemill.streams.metrics import Metrics
from tidemill.streams.models import ModelFollower
from tidemill.streams.plan import Plan
from tidemill.streams.ports import Committer
from tidemill.streams.schema_topic import SchemaTopic
from tidemill.streams.state_keeping import StateKeeping
from tidemill.streams.tables import TableFollower

log = logging.getLogger(__name__)
ENRICHING = {"feature_enrichment", ASSEMBLY}
"""The stages that look up in reference tables."""
MOST_BLOCKS = 200
"""How many messages of an internal topic a batch may hold: each has rows of many events."""
MOST_SCORED = 1_000
"""The same of P.scored, of which much is read at a time."""
PACE_SECONDS = {LABEL_INTAKE: 0.2, OUTCOMES: 1.0}
"""How much time stages take between two batches for which nobody waits."""
DELIVERY = ("exactly-once", "at-least-once")


@dataclass(frozen=True)
class WorkerOptions:
    """How one worker runs. `slot` is its place among the workers: stable over restarts, of one process at a time.

    `snapshots` is the folder for local copies of the state; None keeps none. `max_state` limits the state's bytes, by
    default to a share of the machine's memory. `calls` is the file that says which model was asked when the process
    died; None keeps none.
    """

    stages: Sequence[str]
    slot: str = "0"
    delivery: str = "exactly-once"
    registry_url: str | None = None
    trusted_models: tuple[str, ...] = ()
    snapshots: Path | None = None
    max_state: int | None = None
    loop: LoopOptions = field(default_factory=LoopOptions)
    calls: Path | None = None

    def __post_init__(self) -> None:
        if self.delivery not in DELIVERY:
            raise DeclarationError(f"there is no delivery {self.delivery!r}{nearest(self.delivery, DELIVERY)}")


def group_name(plan: Plan, stages: Sequence[str]) -> str:
    """The consumer group: workers whose first stage is the same share that stage's input."""
    return f"{plan.name}.{stages[0]}"


def run_worker(
    plan: Plan, connection: Connection, options: WorkerOptions, metrics: Metrics, stop: Callable[[], bool]
) -> None:
    """Run until `stop` says so. Raises DeclarationError if the pipeline does not publish what lies between workers.

    Stages between which rows change their partition are tasks of their own: each with its group and its transactions,
    in turn on this one thread.
    """
    plan.require_layout(options.stages)
    registry = Registry(options.registry_url) if options.registry_url else None
    schemas = SchemaTopic(Follower(connection, plan.topic("schemas")), registry, wait=plan.schema_wait_seconds)
    for contract in plan.contracts.values():
        schemas.add(contract)
    tasks = plan.tasks(options.stages)
    executor = ThreadPoolExecutor(len(tasks), thread_name_prefix="commit")
    keeping = StateKeeping(plan.topic("changelog"), options.snapshots, options.max_state, metrics, time.monotonic)
    made = _Made(plan, connection, options, metrics, schemas, registry, executor, keeping)
    try:
        with keeping.snapshots_beside(lambda: closing(KafkaReader(connection))):
            run_in_turn([made.loop(stages, first=not number) for number, stages in enumerate(tasks)], stop)
    finally:
        executor.shutdown()
        if registry is not None:
            registry.close()
    log.info("worker %s has stopped", options.slot)


@dataclass(frozen=True)
class _Made:
    """What the tasks of a worker have in common."""

    plan: Plan
    connection: Connection
    options: WorkerOptions
    metrics: Metrics
    schemas: SchemaTopic
    registry: Registry | None
    executor: ThreadPoolExecutor
    keeping: StateKeeping

    def _prefix(self, suffix: str) -> bytes | None:
        if self.registry is None:
            return None
        return Confluent(self.registry.register(self.plan.topic(suffix), self.plan.contracts[suffix])).prefix

    def _is_public(self, topic: str) -> bool:
        return topic.removeprefix(self.plan.topic("")) in self.plan.contracts

    def _loop_options(self, stages: Sequence[str], topic: str) -> LoopOptions:
        given = self.options.loop
        paced = replace(given, pace_seconds=PACE_SECONDS.get(stages[0], 0.0))
        if self._is_public(topic):
            return paced
        most = MOST_SCORED if stages[0] == OUTCOMES else MOST_BLOCKS
        return replace(paced, max_records=min(given.max_records, most))

    def loop(self, stages: Sequence[str], *, first: bool) -> Loop:
        """The loop of one task, connected; a worker's tables are followed by its first."""
        plan, connection = self.plan, self.connection
        group, place = group_name(plan, stages), f"{plan.name}.{'+'.join(stages)}.{self.options.slot}"
        reader = KafkaReader(connection, group)
        counted = plan.hops or plan.make_outcomes is not None
        partitions = len(reader.partitions(plan.topic("events"))) if counted else plan.partitions
        task = make_task(plan, stages, self.schemas, self.keeping.reader(reader), self._prefix, partitions)
        self.keeping.tasks.append(task)
        followed: list[Followed] = [self.keeping.watch] if first else []
        if first and ENRICHING & {*self.options.stages}:
            tables = plan.topic_tables
            followed += [TableFollower(table, Follower(connection, table.topic), self.schemas) for table in tables]
        if task.inference is not None:
            preload()
            stream, trusted = Follower(connection, plan.topic("models")), self.options.trusted_models
            models = KafkaReader(connection)
            followed.append(
                ModelFollower(
                    plan,
                    task.inference,
                    stream,
                    models,
                    trusted,
                    self.metrics.serves,
                    Deadline,
                    None if self.options.calls is None else LastCalls(self.options.calls),
                )
            )
        in_flight = InFlight(task, self.executor)
        source = KafkaSource(connection, task.input_topic, group, place, in_flight)
        kind = ExactlyOnce if self.options.delivery == "exactly-once" else AtLeastOnce
        committer: Committer = kind(connection, source, task.input_topic, plan.topic("changelog"), place)
        log.info("worker %s reads %s, %s", place, task.input_topic, self.options.delivery)
        return Loop(
            task,
            source,
            committer,
            followed=followed,
            metrics=self.metrics,
            now=time.time,
            options=self._loop_options(stages, task.input_topic),
            in_flight=in_flight,
            shows_lag=first,
        )
