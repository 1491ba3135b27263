"""A pipeline's tasks with hops, one feeding the other in memory: for replays."""

import numpy as np

from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.hops.assembly import AssemblyTask
from tidemill.streams.hops.block import Block
from tidemill.streams.hops.recorded import RecordedHop
from tidemill.streams.hops.split import SplitTask
from tidemill.streams.hops.tasks import make_task
from tidemill.streams.memory import MemoryLog, MemoryReader
from tidemill.streams.plan import LABELLED, STAGES, Plan
from tidemill.streams.ports import History, Output, Prepared, Records


class Chain:
    """From events to features, without a log in between and without anything known before the first event.

    With `recorded`, the order of the rows that meet on a hop is that of the hop's log.
    """

    def __init__(self, plan: Plan, schemas: SchemaSource, partitions: int, recorded: History | None = None) -> None:
        self._partitions = partitions
        self._hops: dict[tuple[str, int], RecordedHop] = {}
        if recorded is not None:
            topics = [plan.hop_topic(key) for key in plan.hops]
            self._hops = {(t, p): RecordedHop(recorded, t, p) for t in topics for p in range(partitions)}
        reader = MemoryReader(MemoryLog({plan.topic(t): partitions for t in ("changelog", "events")}))
        parts = [
            [stage for stage in segment if stage != STAGES[2]]
            for segment in plan.segments
            if segment[0] not in LABELLED
        ]
        tasks = [make_task(plan, part, schemas, reader, lambda _: None, partitions) for part in parts]
        for task in tasks:
            for partition in range(partitions):
                task.assigned(partition)
        first, *middle, last = tasks
        assert isinstance(first, SplitTask)
        assert isinstance(last, AssemblyTask)
        self._first, self._last = first, last
        self._by_topic = {task.input_topic: task for task in (*middle, last)}
        self._ends: dict[tuple[str, int], int] = {}

    def feed(self, records: Records) -> list[Output]:
        """What these events, and those that they release, become on public topics."""
        return self._spread(self._first.prepare(records)) + self._pump() + self._drain()

    def settle(self) -> list[Output]:
        """What becomes of the rest, now that no more events come."""
        prepared = self._first.settle()
        public = [] if prepared is None else self._spread(prepared)
        for (topic, partition), hop in self._hops.items():
            rest = hop.rest(self._first, self._partitions)
            public += [] if rest is None else self._step(topic, partition, [rest])
        return public + self._drain()

    def _drain(self) -> list[Output]:
        """Events that were more than one batch may hold."""
        public: list[Output] = []
        while (prepared := self._last.settle()) is not None:
            public += self._spread(prepared)
        return public

    def _pump(self) -> list[Output]:
        """Feed the windows what the log had next, as far as it is computed."""
        public = []
        for (topic, partition), hop in self._hops.items():
            blocks = hop.take(self._first)
            public += self._step(topic, partition, blocks) if blocks else []
        return public

    def _step(self, topic: str, partition: int, blocks: list[tuple[int, bytes]]) -> list[Output]:
        offset = np.array([offset for offset, _ in blocks], dtype=np.int64)
        count = len(blocks)
        none: list[None] = [None] * count
        values = [value for _, value in blocks]
        records = Records(np.full(count, partition, np.int32), offset, np.zeros(count, np.int64), none, values, none)
        return self._spread(self._by_topic[topic].prepare(records))

    def stream_time(self, partition: int) -> int:
        """The partition's event time so far."""
        return self._first.stream_time(partition)

    def decided(self, partition: int) -> int:
        """The first event offset of which it is not yet known what becomes of it."""
        return self._last.following(partition)

    def _spread(self, prepared: Prepared) -> list[Output]:
        public = []
        for output in prepared.outputs:
            task = self._by_topic.get(output.topic)
            if task is None:
                public.append(output)
            elif (output.topic, 0) in self._hops:
                for partition, value in zip(output.partition.tolist(), output.values, strict=True):
                    self._hops[output.topic, partition].add(Block.decode(value).rows)
            else:
                public += self._spread(task.prepare(self._records(output)))
        return public

    def _records(self, output: Output) -> Records:
        """An internal topic's messages as they are read."""
        order = np.argsort(output.partition, kind="stable")
        partition = output.partition[order]
        offset = np.empty(len(partition), dtype=np.int64)
        for place, p in enumerate(partition.tolist()):
            offset[place] = self._ends.get((output.topic, p), 0)
            self._ends[output.topic, p] = int(offset[place]) + 1
        none: list[None] = [None] * len(order)
        values = [output.values[row] for row in order]
        return Records(partition, offset, output.timestamp[order], none, values, none)
