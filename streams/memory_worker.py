"""A worker over a log in memory: the production task, loop and followers, between edges that need no broker."""

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from itertools import count, islice

from tidemill.processors.feature_enrichment.hops import ASSEMBLY
from tidemill.processors.online_inference.stage import OnlineInference
from tidemill.streams.hops.tasks import AnyTask, make_task
from tidemill.streams.loop import Followed, Loop, LoopOptions
from tidemill.streams.memory import MemoryLog, MemoryReader, MemoryStream, append_outputs, columns
from tidemill.streams.metrics import Metrics
from tidemill.streams.models import ModelFollower
from tidemill.streams.plan import Plan
from tidemill.streams.ports import Assignments, LogRecord, Prepared, Records
from tidemill.streams.schema_topic import SchemaTopic
from tidemill.streams.tables import TableFollower


class MemoryWorker:
    """What `streams.worker` is over Kafka: the only worker of its group of stages, with all partitions or these.

    `now` gives the time in seconds; `trusted` are the hashes of models to load although skops cannot vouch for them.
    """

    def __init__(
        self,
        plan: Plan,
        stages: Sequence[str],
        log: MemoryLog,
        now: Callable[[], float],
        trusted: Collection[str] = (),
        partitions: Sequence[int] | None = None,
    ) -> None:
        plan.require_layout(stages)
        # How long nothing has come says nothing where whoever sends is called in between.
        plan = replace(plan, idle_seconds=math.inf)
        self.stages, self._now, self._metrics = tuple(stages), now, Metrics()
        # A real clock would make what is found depend on how fast this machine is; this one is always a second later.
        schemas = SchemaTopic(MemoryStream(log, plan.topic("schemas")), clock=count().__next__)
        for contract in plan.contracts.values():
            schemas.add(contract)
        self._followed: list[Followed] = []
        if {"feature_enrichment", ASSEMBLY} & {*stages}:
            self._followed += [
                TableFollower(table, MemoryStream(log, table.topic), schemas) for table in plan.topic_tables
            ]
        self.tasks: list[AnyTask] = []
        self._edges: list[tuple[MemorySource, MemoryCommitter]] = []
        count_of = len(log.partitions(plan.topic("events")))
        for part in plan.tasks(stages):
            group = f"{plan.name}.{part[0]}"
            task = make_task(plan, part, schemas, MemoryReader(log, group), lambda suffix: None, count_of)  # noqa: ARG005
            source = MemorySource(log, task.input_topic, group, task, partitions)
            self.tasks.append(task)
            self._edges.append((source, MemoryCommitter(log, task.input_topic, group, plan.topic("changelog"))))
            if task.inference is not None:
                stream = MemoryStream(log, plan.topic("models"))
                self._followed.append(ModelFollower(plan, task.inference, stream, MemoryReader(log), trusted))

    @property
    def inference(self) -> OnlineInference | None:
        """The stage that serves models, if this worker has it."""
        return next((task.inference for task in self.tasks if task.inference is not None), None)

    def follow(self) -> None:
        """Take in models and table rows now, as is done before every batch."""
        for followed in self._followed:
            followed.poll()

    def run(self, max_records: int) -> None:
        """Process everything that is there, in batches of at most so many.

        Nothing more is expected then: windows on other keys do not wait for any partition.
        """
        for task, (source, committer) in zip(self.tasks, self._edges, strict=True):
            source.only = None
            loop = self._loop(task, source, committer, max_records)
            with loop.open():
                loop.wake(source.waiting())
                while source.waiting():
                    loop.step()
                loop.settle()

    def step(self, max_records: int, partitions: Iterable[int] | None = None) -> None:
        """Process one batch at most by each task, of these partitions or of all."""
        for task, (source, committer) in zip(self.tasks, self._edges, strict=True):
            source.only = None if partitions is None else frozenset(partitions)
            loop = self._loop(task, source, committer, max_records)
            with loop.open():
                # Whatever is on the log comes before what windows see of it is decided, however it is cut.
                loop.wake(source.waiting())
                loop.step()

    def _loop(self, task: AnyTask, source: "MemorySource", committer: "MemoryCommitter", max_records: int) -> Loop:
        options = LoopOptions(max_records=max_records)
        followed, metrics = self._followed, self._metrics
        return Loop(task, source, committer, followed=followed, metrics=metrics, now=self._now, options=options)


class MemorySource:
    """A `Source` over a topic of a `MemoryLog`, for a group's only member: it has all partitions, or these.

    Partitions have the first turn one after the other, so that small batches mix them. `only`, when it is set, says
    which of them are read.
    """

    def __init__(
        self,
        log: MemoryLog,
        topic: str,
        group: str,
        assignments: Assignments,
        partitions: Sequence[int] | None = None,
    ) -> None:
        self._log, self._topic, self._group, self._assignments = log, topic, group, assignments
        self._partitions = log.partitions(topic) if partitions is None else list(partitions)
        self._positions = {partition: self._assign(partition) for partition in self._partitions}
        self._turn = 0
        self.only: frozenset[int] | None = None

    def _assign(self, partition: int) -> int:
        offset = self._assignments.assigned(partition)
        return self._log.beginning(self._topic, partition) if offset is None else offset

    def poll(self, max_records: int, timeout: float) -> Records:  # noqa: ARG002 - there is nothing to wait for
        """Up to `max_records` messages of those that are there."""
        self._turn += 1
        first = self._turn % len(self._partitions)
        taken: dict[int, list[LogRecord]] = {}
        room = max_records
        for partition in self._partitions[first:] + self._partitions[:first]:
            if self.only is None or partition in self.only:
                # What retention has deleted meanwhile is passed over.
                start = max(self._positions[partition], self._log.beginning(self._topic, partition))
                self._positions[partition] = start
                waiting = self._log.read(self._topic, partition, start)
                taken[partition] = list(islice(waiting, room))
                room -= len(taken[partition])
        for partition, records in taken.items():
            if records:
                self._positions[partition] = records[-1].offset + 1
        return columns([record for partition in sorted(taken) for record in taken[partition]])

    def rewind(self) -> None:
        """Restore every partition and go back to where its state stands."""
        for partition in self._partitions:
            self._assignments.revoked(partition)
            self._positions[partition] = self._assign(partition)

    def ended(self) -> set[int]:
        """None: time stands still here, and no partition is quiet for long; `MemoryWorker.run` settles that."""
        return set()

    def waiting(self) -> set[int]:
        """The partitions on which there is something to read."""
        return {partition for partition, lag in self.lag().items() if lag > 0}

    def lag(self) -> dict[int, int]:
        """Offsets between what was read and the end."""
        return {p: self._log.end(self._topic, p) - position for p, position in self._positions.items()}

    def close(self) -> None:
        """Whoever joins next, which may be the same member, goes on after what was committed."""
        for partition in self._partitions:
            committed = self._log.committed.get((self._group, self._topic, partition))
            if committed is not None:
                self._positions[partition] = committed


class MemoryCommitter:
    """A `Committer` into a `MemoryLog`: all of a batch at once, and never in vain."""

    def __init__(self, log: MemoryLog, topic: str, group: str, changelog: str) -> None:
        self._log, self._topic, self._group, self._changelog = log, topic, group, changelog

    def commit(self, prepared: Prepared) -> None:
        """Append outputs and changelog, and move the group's offsets."""
        append_outputs(self._log, prepared.outputs)
        for entry in prepared.changelog:
            self._log.append(self._changelog, entry.key, entry.value, partition=entry.partition)
        for partition, offset in prepared.offsets.items():
            self._log.committed[self._group, self._topic, partition] = offset

    def close(self) -> None:
        """Nothing is open."""
