from collections import defaultdict

import numpy as np
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.ports import LogRecord, Records
from tidemill.streams.task import Task


class FakeLog:
    """A `LogReader` over lists, with what an audit asks for as well."""

    def __init__(self):
        self.topics = defaultdict(list)
        self.offsets = {}
        self.first = {}

    def append(self, topic, partition, key, value, timestamp=0, headers=(), offset=None):
        records = self.topics[topic, partition]
        offset = self.end(topic, partition) if offset is None else offset
        records.append(LogRecord(partition, offset, timestamp, key, value, list(headers)))
        return offset

    def commit(self, prepared, topic, changelog):
        """What a committer does."""
        for output in prepared.outputs:
            headers = output.headers or [None] * len(output)
            rows = zip(
                output.partition.tolist(), output.keys, output.values, output.timestamp.tolist(), headers, strict=True
            )
            for partition, key, value, timestamp, header in rows:
                self.append(output.topic, partition, key, value, timestamp, header or ())
        for entry in prepared.changelog:
            self.append(changelog, entry.partition, entry.key, entry.value)
        self.offsets |= {(topic, partition): offset for partition, offset in prepared.offsets.items()}

    def read(self, topic, partition, start=0, end=None):
        records = list(self.topics[topic, partition])
        return iter([r for r in records if r.offset >= start and (end is None or r.offset < end)])

    def committed(self, topic, partition):
        return self.offsets.get((topic, partition))

    def fetch(self, topic, partition, offsets):
        return {r.offset: r for r in self.read(topic, partition) if r.offset in set(offsets)}

    def beginning(self, topic, partition):
        return self.first.get((topic, partition), 0)

    def end(self, topic, partition):
        records = self.topics[topic, partition]
        return records[-1].offset + 1 if records else 0

    def partitions(self, topic):
        return sorted(p for name, p in self.topics if name == topic)

    def values(self, topic, partition=0):
        return [record.value for record in self.read(topic, partition)]


class FakeStream:
    """A `RecordStream` over a list."""

    def __init__(self, *records):
        self.records = list(records)
        self.waited = 0
        self.next = 0

    def add(self, key, value):
        self.records.append(LogRecord(0, self.next, 0, key, value, []))
        self.next += 1

    def catch_up(self):
        self.waited += 1
        return self.poll()

    def poll(self):
        taken, self.records = self.records, []
        return taken


class FakeSender:
    """A `Sender` that keeps what it was given."""

    def __init__(self):
        self.sent = []
        self.flushed = 0

    def send(self, topic, key, value, *, headers=None, partition=None):
        self.sent.append((topic, key, value))

    def flush(self):
        self.flushed = len(self.sent)

    def first_offset(self, topic):
        return 7


@pytest.fixture
def log():
    return FakeLog()


@pytest.fixture
def stream():
    """Make a stream of nothing yet."""
    return FakeStream


@pytest.fixture
def sender():
    return FakeSender()


@pytest.fixture(scope="session")
def pipeline():
    """Every stage, with state in two of them; a station below zero fails the sanity check."""
    reading = {
        "type": "record",
        "name": "Reading",
        "fields": [
            {"name": "id", "type": "string"},
            {"name": "station", "type": "string"},
            {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
            {"name": "height", "type": ["null", "double"], "default": None},
        ],
    }
    flood = {
        "type": "record",
        "name": "Flood",
        "fields": [{"name": "id", "type": "string"}, {"name": "over", "type": "int"}],
    }
    return tm.Pipeline(
        "tides",
        tm.Events(reading, key="station", time="at", id="id"),
        checks=[tm.between("height", 0, 100), tm.present("station", on_failure="warn"), tm.unique("1h")],
        features=[tm.fields("height"), tm.window("station", "1h", seen=tm.count(), mean=tm.mean("height"))],
        labels=tm.Labels(flood, id="id", label=pl.col("over") > 0),
        model=tm.Model(LogisticRegression(), ["height"]),
        base=".",
    )


@pytest.fixture(scope="session")
def plan(pipeline):
    return pipeline.plan()


@pytest.fixture(scope="session")
def event(plan):
    """An event's bytes."""
    codec = Codec(plan.contracts["events"], KnownSchemas())

    def make(name, height=1.0, at=0):
        return codec.encode_rows([{"id": name, "station": "s", "at": at, "height": height}])[0]

    return make


@pytest.fixture
def records():
    """What a source hands out: the log's records of a topic from an offset per partition."""

    def read(log, topic, start=0, end=None, partitions=(0,)):
        found = [r for p in partitions for r in log.read(topic, p, start, end)]
        return Records(
            np.array([r.partition for r in found], np.int32),
            np.array([r.offset for r in found], np.int64),
            np.array([r.timestamp for r in found], np.int64),
            [r.key for r in found],
            [r.value for r in found],
            [r.headers for r in found],
        )

    return read


@pytest.fixture
def task(plan, log):
    """Make a task for the stages named, with the partitions assigned."""

    def make(*stages, partitions=(0,), prefix=lambda suffix: None):
        schemas = KnownSchemas(plan.contracts.values())
        made = Task(plan, stages or ("sanity_check", "feature_enrichment", "online_inference"), schemas, log, prefix)
        for partition in partitions:
            made.assigned(partition)
        return made

    return make


@pytest.fixture
def rows(plan):
    """A topic's messages as dicts."""

    def read(log, suffix, partition=0):
        codec = Codec(plan.contracts[suffix], KnownSchemas())
        decoded = codec.decode(log.values(plan.topic(suffix), partition))
        assert decoded.bad == ()
        return decoded.table.to_pylist()

    return read
