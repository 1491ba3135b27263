"""The rollout judge: what challengers answered beside what happened, and from it the next record of the rollout log."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import islice
from threading import Event, Thread

import pyarrow as pa
import pyarrow.compute as pc

from tidemill.processors.online_inference.beside import SHADOW_PREDICTIONS
from tidemill.processors.online_inference.stage import PRIOR
from tidemill.processors.rollout.comparison import default_metric
from tidemill.processors.rollout.declaration import Rollout as Policy
from tidemill.processors.rollout.judgement import Judgement, next_step
from tidemill.processors.rollout.ledger import MOST_WAITING, Ledger
from tidemill.processors.rollout.matchup import matchups
from tidemill.processors.rollout.policy import Decision, decide
from tidemill.processors.rollout.state import Rollout
from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import ModelError, StreamError
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.plan import Plan
from tidemill.streams.ports import History, LogRecord
from tidemill.streams.rollout_log import LogMoved, RolloutLog, model_events
from tidemill.streams.schema_topic import SchemaTopic

OUTCOMES = "outcomes"
JUDGE = "judge"
"""By whom its records are, as they say."""
_BATCH = 20_000
_PAUSE_SECONDS = 0.5
_SECONDS_TO_END = 30
_PLACE = ("source_partition", "source_offset")
log = logging.getLogger(__name__)


class RolloutJudge:
    """Moves models on as the policy says; what it knows is read from the topics, again after a restart.

    It decides on a state of the rollout log and writes only if that is still the last one: of two judges, and of one
    that was killed while it wrote, no step is made twice. `step` does all that there is to do and never waits.
    """

    def __init__(
        self,
        plan: Plan,
        policy: Policy,
        reader: History,
        schemas: SchemaSource,
        rollouts: RolloutLog,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._policy, self._reader, self._rollouts = policy, reader, rollouts
        self._next = 0
        target = plan.target
        self._metric = policy.metric or default_metric(target)
        gates = plan.gates
        self._gates = gates
        assert plan.make_outcomes is not None, "a rollout needs outcomes"
        carried = plan.make_outcomes()
        columns = {name: carried.name_of(name) for name in (*gates.slices, *gates.sensitive)}
        self._ledger = Ledger(target, self._metric, most_waiting, gates, columns)
        self._prior = None if target.prior is None else PRIOR
        self.rollout = Rollout()
        """As it was when last looked at."""
        own = ("model_version", "value", *target.columns())
        self._answers = _Topic(
            plan, SHADOW_PREDICTIONS, ("event_time", *_PLACE, *own, "role", "stage", "failure"), reader, schemas
        )
        self._happened = _Topic(plan, OUTCOMES, (*_PLACE, *own, "label", *columns.values()), reader, schemas)

    def step(self) -> list[Judgement]:
        """Read on, and take the steps that follow; returns them, after they were written."""
        # Where the topics end before the log of models is looked at: what follows later is about later roles.
        answers, happened = self._answers.ends(), self._happened.ends()
        self._look()
        found = matchups(self.rollout, self._prior)
        self._ledger.follow(found)
        if not found:
            self._answers.skip(answers)
            self._happened.skip(happened)
        else:
            # An outcome's event was answered before, in a transaction that can be read by now.
            for table in self._answers.read(self._answers.ends()):
                self._ledger.answers(table)
            for table in self._happened.read(happened):
                self._ledger.outcomes(table)
        made = next_step(self.rollout, self._policy, self.decisions(), by=JUDGE)
        return [] if made is None or not self._written(made) else [made]

    def decisions(self) -> list[tuple[str, Decision]]:
        """What is thought of each candidate now, also where that is to wait."""
        found = matchups(self.rollout, self._prior)
        return [(m.candidate, decide(self._policy, self._ledger.evidence(m), self._gates)) for m in found]

    def _look(self) -> None:
        topic = self._rollouts.topic
        end = self._reader.end(topic, 0)
        if end > self._next:
            for event in model_events(list(self._reader.read(topic, 0, self._next, end))):
                self.rollout = self.rollout if event is None else self.rollout.then(event)
            self._next = end

    def _written(self, made: Judgement) -> bool:
        try:
            self._rollouts.append(made.events, expect=len(self.rollout.records))
        except (LogMoved, ModelError) as error:
            log.info("not done: %s: %s", made.reason, error)
            return False
        log.info("%s: %s", made.step, made.reason)
        return True


class _Topic:
    """Some columns of a topic, read on from where it was read to."""

    def __init__(self, plan: Plan, suffix: str, columns: Sequence[str], reader: History, schemas: SchemaSource) -> None:
        contract = plan.contracts[suffix]
        fields = [field for field in contract.schema["fields"] if field["name"] in columns]
        self._codec = Codec(Contract.parse({**contract.schema, "fields": fields}), schemas)
        self._name, self._reader = plan.topic(suffix), reader
        self._next: dict[int, int] = {}

    def ends(self) -> dict[int, int]:
        """By partition, the offset after the last message."""
        return {partition: self._reader.end(self._name, partition) for partition in self._reader.partitions(self._name)}

    def skip(self, ends: dict[int, int]) -> None:
        """Pass over what comes before."""
        self._next |= ends

    def read(self, ends: dict[int, int]) -> Iterator[pa.Table]:
        """What comes before these ends and was not read, in batches."""
        for partition, end in ends.items():
            start = self._next.get(partition, 0)
            if start < end:
                records = self._reader.read(self._name, partition, start, end)
                while batch := list(islice(records, _BATCH)):
                    yield self._decoded(batch)
                self._next[partition] = end

    def _decoded(self, records: Sequence[LogRecord]) -> pa.Table:
        decoded = self._codec.decode([r.value for r in records], [r.headers for r in records])
        for bad in decoded.bad:
            record = records[bad.row]
            log.error("%s[%d]@%d cannot be read: %s", self._name, record.partition, record.offset, bad.message)
        table = decoded.table
        if "event_time" not in table.column_names:
            return table
        # No event moves time beyond when it was sent.
        sent = pa.array([records[row].timestamp * 1_000 for row in decoded.rows.tolist()], pa.int64())
        times = table["event_time"].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        at = pc.min_element_wise(times, sent)
        return table.append_column("at", at).drop_columns(["event_time"])


def watch_rollout(
    judge: Callable[[], AbstractContextManager[RolloutJudge]],
    at_work: Callable[[], bool],
    stop: Callable[[float], bool],
) -> None:
    """Judge for as long as this process is `at_work`, until `stop`, which waits for so many seconds, says so.

    Whoever takes over begins anew with what `judge` makes. What goes wrong is logged, and tried again.
    """
    while not stop(_PAUSE_SECONDS):
        if not at_work():
            continue
        try:
            with judge() as current:
                while at_work() and not stop(0.0 if current.step() else _PAUSE_SECONDS):
                    pass
        except StreamError as error:
            log.warning("the rollout cannot be judged for now: %s", error)
        except Exception:
            log.exception("the rollout cannot be judged for now")


@contextmanager
def judge_on(plan: Plan, policy: Policy, connection: Connection) -> Iterator[RolloutJudge]:
    """A judge on a cluster."""
    with closing(KafkaReader(connection)) as reader:
        schemas = SchemaTopic(Follower(connection, plan.topic("schemas")))
        for suffix in (SHADOW_PREDICTIONS, OUTCOMES):
            schemas.add(plan.contracts[suffix])
        yield RolloutJudge(plan, policy, reader, schemas, RolloutLog(plan, connection))


@contextmanager
def judging(plan: Plan, connection: Connection, at_work: Callable[[], bool]) -> Iterator[None]:
    """Judge the pipeline's rollout on a thread of its own meanwhile, if it declares one."""
    policy = plan.rollout
    if policy is None:
        yield
        return
    stop = Event()
    arguments = (lambda: judge_on(plan, policy, connection), at_work, stop.wait)
    thread = Thread(target=watch_rollout, args=arguments, name="rollout", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_SECONDS_TO_END)
