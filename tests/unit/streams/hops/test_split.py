"""What the first task tells the hops: where rows go, how far their partition is, and when nothing more comes."""

from datetime import timedelta

import pytest

import tidemill as tm
from tidemill.streams.hops.block import OFFSET, PARTITION, Block, Mark
from tidemill.streams.hops.split import SplitTask
from tidemill.streams.hops.tasks import make_task
from tidemill.streams.memory import MemoryReader, columns
from tidemill.streams.murmur2 import partition_of

CALL = {
    "type": "record",
    "name": "Call",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "caller", "type": "string"},
        {"name": "cell", "type": ["null", "string"], "default": None},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "cost", "type": "double"},
    ],
}
PIPELINE = tm.Pipeline(
    "calls",
    tm.Events(CALL, key="caller", time="at", id="id"),
    checks=[tm.between("cost", 0, 9)],
    features=[tm.window("cell", over="1h", calls=tm.count())],
    partitions=2,
)


class World:
    def __init__(self):
        self.driver = tm.testing.Driver(PIPELINE)
        reader = MemoryReader(self.driver.log, "calls.sanity_check")
        stages, schemas = ("sanity_check", "feature_enrichment"), self.driver._schemas
        self.task = make_task(PIPELINE.plan(), stages, schemas, reader, lambda _: None, 2)
        assert isinstance(self.task, SplitTask)
        self.read = [0, 0]
        for p in (0, 1):
            self.task.assigned(p)

    def send(self, caller, cell, cost=1.0):
        self.driver.send({"id": "x", "caller": caller, "cell": cell, "at": self.driver.now, "cost": cost})
        self.driver.advance(timedelta(seconds=1))

    def prepare(self):
        records = [r for p in (0, 1) for r in self.driver.log.read("calls.events", p, self.read[p])]
        self.read = [self.driver.log.end("calls.events", p) for p in (0, 1)]
        return self.task.prepare(columns(records))


def blocks(prepared, topic):
    outputs = [output for output in prepared.outputs if output.topic == topic]
    return [
        (p, Block.decode(value))
        for output in outputs
        for p, value in zip(output.partition.tolist(), output.values, strict=True)
    ]


@pytest.fixture
def world():
    return World()


def test_rows_go_where_their_key_hashes_to_and_marks_go_everywhere(world):
    cells = ["north", "south", "east", None, "west"]
    for number, cell in enumerate(cells):
        world.send("ab"[number % 2], cell)
    prepared = world.prepare()
    found = blocks(prepared, "calls.by-cell")
    assert [p for p, _ in found] == [0, 1]
    homes = {partition_of(caller, 2) for caller in (b"a", b"b")}
    for p, block in found:
        assert set(block.marks) == homes
        keys = zip(block.rows["@key"].to_pylist(), block.rows[PARTITION].to_pylist(), strict=True)
        # Rows without a key stay where their event is.
        assert all((home if key is None else partition_of(key.encode(), 2)) == p for key, home in keys)
    assert sum(block.rows.num_rows for _, block in found) == len(cells)
    home = blocks(prepared, "calls.enriched")
    assert {p for p, _ in home} == homes
    assert all(block.rows[OFFSET].to_pylist() == list(range(block.rows.num_rows)) for _, block in home)
    assert all(block.marks[p].next == block.rows.num_rows for p, block in home)


def test_refused_events_move_the_offset_and_no_time(world):
    world.send("a", "north", cost=99.0)
    prepared = world.prepare()
    assert blocks(prepared, "calls.by-cell") == []
    ((_, block),) = blocks(prepared, "calls.enriched")
    assert [mark.next for mark in block.marks.values()] == [1]


def test_a_partition_is_idle_after_it_has_been_heard_to_be_silent(world):
    world.send("a", "north")
    home = partition_of(b"a", 2)
    world.prepare()
    ended = {0, 1}
    # A long pause between two looks is no silence: the process may have been stopped.
    assert world.task.idle(ended, 1000.0) is None
    assert world.task.idle(ended, 2000.0) is None
    assert world.task.idle(ended, 2000.05) is None
    # Nor is one enough that ends with a pause.
    assert world.task.idle(ended, 3000.0) is None
    prepared = world.task.idle(ended, 3000.05)
    assert prepared.offsets.get(home) == 1
    marks = blocks(prepared, "calls.by-cell")[0][1].marks
    assert all(mark.idle for mark in marks.values())
    assert isinstance(marks[home], Mark)
    # Said once.
    assert world.task.idle(ended, 2009.0) is None


def test_a_partition_with_something_to_read_is_not_idle(world):
    world.send("a", "north")
    world.prepare()
    for moment in range(20):
        assert world.task.idle(set(), 1000.0 + moment) is None


def test_a_partition_of_which_everything_is_refused_is(world):
    home = partition_of(b"a", 2)
    told = []
    for moment in range(5):
        world.send("a", "north", cost=99.0)
        world.prepare()
        prepared = world.task.idle(set(), 1000.0 + moment)
        told += [] if prepared is None else [set(blocks(prepared, "calls.by-cell")[0][1].marks)]
    assert told == [{home}]
    # A good one wakes it.
    world.send("a", "north")
    marks = blocks(world.prepare(), "calls.by-cell")[0][1].marks
    assert not marks[home].idle
