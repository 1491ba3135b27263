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
from tidemill.streams.control_metrics import RolloutMetrics
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.places import KafkaPlaces
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.plan import Plan
from tidemill.streams.ports import History, LogRecord, Places
from tidemill.streams.rollout_log import LogMoved, RolloutLog, model_events
from tidemill.streams.schema_topic import SchemaTopic

OUTCOMES = "outcomes"
GROUP = "rollout"
"""The group that keeps its places, by suffix."""
JUDGE = "judge"
"""By whom its records are, as they say."""
_BATCH = 20_000
_PAUSE_SECONDS = 0.5
_SECONDS_TO_END = 30
_PLACE = ("source_partition", "source_offset")
Ends = dict[int, int]
log = logging.getLogger(__name__)


class RolloutJudge:
    """Moves models on as the policy says; what it knows is read from the topics.

    After a restart it reads again what is about the models that are compared now, from the `places` that it keeps:
    where the topics ended before a record came on the rollout log, all that is about this record follows. Without them
    it reads from the beginnings, and finds the same.

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
        places: Places | None = None,
        metrics: RolloutMetrics | None = None,
    ) -> None:
        self._places, self._metrics = places, metrics
        self._marks: dict[int, tuple[Ends, Ends]] = {}
        self._kept = -1
        self._began = places is None
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
        self._keep_place(
            min((stage for each in found for stage in each.stages), default=self.rollout.length), answers, happened
        )
        if not found:
            self._answers.skip(answers)
            self._happened.skip(happened)
        else:
            # An outcome's event was answered before, in a transaction that can be read by now.
            for table in self._answers.read(self._answers.ends()):
                self._ledger.answers(table)
            for table in self._happened.read(happened):
                self._ledger.outcomes(table)
        if self._metrics is not None:
            self._metrics.standing(self.rollout, [self._ledger.evidence(each) for each in found])
        made = next_step(self.rollout, self._policy, self.decisions(), by=JUDGE)
        return [] if made is None or not self._written(made) else [made]

    def decisions(self) -> list[tuple[str, Decision]]:
        """What is thought of each candidate now, also where that is to wait."""
        found = matchups(self.rollout, self._prior)
        return [(m.candidate, decide(self._policy, self._ledger.evidence(m), self._gates)) for m in found]

    def _keep_place(self, stage: int, answers: Ends, happened: Ends) -> None:
        """Go on from where `stage` began, and keep that place for whoever comes next."""
        if self._places is None:
            return
        if not self._began:
            self._kept = self._answers.go_on(self._places, stage)
            self._kept = min(self._kept, self._happened.go_on(self._places, stage))
            self._began = True
        self._marks[self.rollout.length] = answers, happened
        best = max((mark for mark in self._marks if mark <= stage), default=-1)
        self._marks = {mark: ends for mark, ends in self._marks.items() if mark >= best}
        if best > self._kept:
            told = zip((self._answers, self._happened), self._marks[best], strict=True)
            self._places.save({(t.name, p): (best, end) for t, ends in told for p, end in ends.items()})
            self._kept = best

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
        if self._metrics is not None:
            self._metrics.steps.labels(made.step).inc()
        return True


class _Topic:
    """Some columns of a topic, read on from where it was read to."""

    def __init__(self, plan: Plan, suffix: str, columns: Sequence[str], reader: History, schemas: SchemaSource) -> None:
        contract = plan.contracts[suffix]
        fields = [field for field in contract.schema["fields"] if field["name"] in columns]
        self._codec = Codec(Contract.parse({**contract.schema, "fields": fields}), schemas)
        self.name, self._reader = plan.topic(suffix), reader
        self._next: Ends = {}

    def ends(self) -> Ends:
        """By partition, the offset after the last message."""
        return {partition: self._reader.end(self.name, partition) for partition in self._reader.partitions(self.name)}

    def go_on(self, places: Places, stage: int) -> int:
        """Begin where what is about a stage begins, as far as that was kept; returns for which stage it was."""
        ends = self.ends()
        found = places.load([(self.name, partition) for partition in ends])
        for (_, partition), (since, offset) in found.items():
            # A topic that was made anew has other offsets.
            if since <= stage and offset <= ends[partition]:
                self._next[partition] = offset
        return min((since for since, _ in found.values()), default=-1)

    def skip(self, ends: Ends) -> None:
        """Pass over what comes before."""
        self._next |= ends

    def read(self, ends: Ends) -> Iterator[pa.Table]:
        """What comes before these ends and was not read, in batches."""
        for partition, end in ends.items():
            start = self._next.get(partition, 0)
            if start < end:
                records = self._reader.read(self.name, partition, start, end)
                while batch := list(islice(records, _BATCH)):
                    yield self._decoded(batch)
                self._next[partition] = end

    def _decoded(self, records: Sequence[LogRecord]) -> pa.Table:
        decoded = self._codec.decode([r.value for r in records], [r.headers for r in records])
        for bad in decoded.bad:
            record = records[bad.row]
            log.error("%s[%d]@%d cannot be read: %s", self.name, record.partition, record.offset, bad.message)
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
def judge_on(
    plan: Plan, policy: Policy, connection: Connection, metrics: RolloutMetrics | None = None
) -> Iterator[RolloutJudge]:
    """A judge on a cluster."""
    places = KafkaPlaces(connection, plan.topic(GROUP))
    with closing(KafkaReader(connection)) as reader, closing(places):
        schemas = SchemaTopic(Follower(connection, plan.topic("schemas")))
        for suffix in (SHADOW_PREDICTIONS, OUTCOMES):
            schemas.add(plan.contracts[suffix])
        rollouts = RolloutLog(plan, connection)
        yield RolloutJudge(plan, policy, reader, schemas, rollouts, places=places, metrics=metrics)
    if metrics is not None:
        metrics.clear()


@contextmanager
def judging(
    plan: Plan, connection: Connection, at_work: Callable[[], bool], metrics: RolloutMetrics | None = None
) -> Iterator[None]:
    """Judge the pipeline's rollout on a thread of its own meanwhile, if it declares one."""
    policy = plan.rollout
    if policy is None:
        yield
        return
    stop = Event()
    arguments = (lambda: judge_on(plan, policy, connection, metrics), at_work, stop.wait)
    thread = Thread(target=watch_rollout, args=arguments, name="rollout", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(_SECONDS_TO_END)
