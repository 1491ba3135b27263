"""A pipeline with something of everything, and a broker of lists on which it runs in any layout and any cut."""

from collections import defaultdict
from itertools import groupby, product

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.linear_model import LogisticRegression

import tidemill as tm
from tidemill.processors.online_inference import Scorer, ServedModel
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.hops.tasks import make_task
from tidemill.streams.ports import LogRecord, Records
from tidemill.streams.rejections import HEADERS

PARTITIONS = (0, 1, 2)
MODEL_FEATURES = ["height", "seen", "tide_number"]
STATIONS = "station,depth\nA,1.5\nB,\n"
READING = {
    "type": "record",
    "name": "Reading",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "station", "type": ["null", "string"], "default": None},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "count", "type": "int", "constraints": {"minimum": 0}},
        {"name": "height", "type": ["null", "double"], "default": None},
        {"name": "level", "type": "float"},
        {"name": "tide", "type": ["null", "string"], "default": None},
    ],
}
FLOOD = {
    "type": "record",
    "name": "Flood",
    "fields": [{"name": "id", "type": "string"}, {"name": "over", "type": "boolean"}],
}


class Broker:
    """Topics as lists, and a group's offsets; a commit is all or nothing because nothing fails."""

    def __init__(self):
        self.topics, self.offsets = defaultdict(list), {}

    def append(self, topic, partition, timestamp, key, value, headers=(), offset=None):
        records = self.topics[topic, partition]
        after = records[-1].offset + 1 if records else 0
        records.append(LogRecord(partition, after if offset is None else offset, timestamp, key, value, list(headers)))

    def read(self, topic, partition, start=0):
        return iter([record for record in self.topics[topic, partition] if record.offset >= start])

    def committed(self, topic, partition):
        return self.offsets.get((topic, partition))

    def fetch(self, topic, partition, offsets):
        return {r.offset: r for r in self.topics[topic, partition] if r.offset in set(offsets)}

    def commit(self, prepared, task):
        for output in prepared.outputs:
            headers = output.headers or [()] * len(output)
            rows = zip(
                output.partition.tolist(), output.timestamp.tolist(), output.keys, output.values, headers, strict=True
            )
            for partition, timestamp, key, value, header in rows:
                self.append(output.topic, partition, timestamp, key, value, header)
        for entry in prepared.changelog:
            self.append(task.plan.topic("changelog"), entry.partition, 0, entry.key, entry.value)
        for partition, offset in prepared.offsets.items():
            self.offsets[task.input_topic, partition] = offset
        task.committed(prepared)


class Worker:
    """A task, and how far it has read each partition."""

    def __init__(self, plan, stages, broker, model):
        self.plan, self.stages, self.broker, self.model = plan, stages, broker, model
        self.counts = defaultdict(int)
        self.restart()

    def restart(self):
        """As a new process: everything that is known comes from the log."""
        schemas = KnownSchemas(self.plan.contracts.values())
        self.task = make_task(self.plan, self.stages, schemas, self.broker, lambda suffix: None, len(PARTITIONS))
        if self.task.inference is not None:
            self.task.inference.serve(self.model)
        self.next = {partition: self.task.assigned(partition) or 0 for partition in PARTITIONS}

    def rewind(self):
        """After a commit that failed: the same process takes its state from the log again."""
        for partition in PARTITIONS:
            self.task.revoked(partition)
            self.next[partition] = self.task.assigned(partition) or 0

    def settle(self):
        """Say that no more comes."""
        while (prepared := self.task.settle()) is not None:
            self.broker.commit(prepared, self.task)

    def step(self, most, *, fails=False):
        """Process at most so many records of each partition; returns how many there were."""
        found = []
        for partition, limit in zip(PARTITIONS, most, strict=True):
            waiting = self.broker.read(self.task.input_topic, partition, self.next[partition])
            found += [record for record, _ in zip(waiting, range(limit), strict=False)]
        if not found:
            return 0
        columns = [[getattr(record, name) for record in found] for name in ("partition", "offset", "timestamp")]
        arrays = (np.array(columns[0], np.int32), *(np.array(column, np.int64) for column in columns[1:]))
        rest = [[getattr(record, name) for record in found] for name in ("key", "value", "headers")]
        prepared = self.task.prepare(Records(*arrays, *rest))
        if fails:
            self.rewind()
            return len(found)
        self.broker.commit(prepared, self.task)
        self.next |= {record.partition: record.offset + 1 for record in found}
        for stage, counts in prepared.counts.items():
            self.counts[stage, "accepted"] += counts.accepted
            self.counts[stage, "rejected"] += sum(counts.rejected.values())
        return len(found)


class World:
    """The pipeline, its model, and what comes of events on it."""

    def __init__(self, plan, model):
        self.plan, self.model = plan, model
        self.codec = Codec(plan.contracts["events"], KnownSchemas())

    def broker(self, events):
        """A broker with events on it: partition, timestamp, key and value each, and perhaps an offset."""
        broker = Broker()
        for partition, timestamp, key, value, *offset in events:
            broker.append(self.plan.topic("events"), partition, timestamp, key, value, (), *offset)
        return broker

    def run(self, events, layout=None, schedule=(), *, broker=None):
        """Process all events: first by the schedule's steps of (worker, records per partition, what happens), then to
        the end. Returns the broker and the workers.
        """
        broker = self.broker(events) if broker is None else broker
        groups = [
            task for stages in ((self.plan.stages,) if layout is None else layout) for task in self.plan.tasks(stages)
        ]
        workers = [Worker(self.plan, stages, broker, self.model) for stages in groups]
        for number, most, event in schedule:
            worker = workers[number % len(workers)]
            if event == "restart":
                worker.restart()
            worker.step(most, fails=event == "abort")
        for worker in workers:
            while worker.step([10_000] * len(PARTITIONS)):
                pass
            worker.settle()
        return broker, workers

    def public(self, broker):
        """What subscribers see of every public topic: rejections by the event, since stages apart interleave them."""
        seen = {}
        for suffix in ("validated", "features", "predictions", "rejected"):
            for partition in PARTITIONS:
                records = [
                    (r.timestamp, r.key, r.value, r.headers) for r in broker.read(self.plan.topic(suffix), partition)
                ]
                seen[suffix, partition] = sorted(records, key=place) if suffix == "rejected" else records
        return seen

    def answers(self, broker):
        """Each event's answers, by partition and offset: ("predicted", row) or ("rejected", fields)."""
        found = defaultdict(list)
        codec = Codec(self.plan.contracts["predictions"], KnownSchemas())
        for partition in PARTITIONS:
            decoded = codec.decode([r.value for r in broker.read(self.plan.topic("predictions"), partition)])
            assert decoded.bad == ()
            for row in decoded.table.to_pylist():
                found[row["source_partition"], row["source_offset"]].append(("predicted", row))
            for record in broker.read(self.plan.topic("rejected"), partition):
                headers = dict(record.headers)
                fields = {name: headers[header].decode() for name, header in HEADERS.items()} | {"value": record.value}
                found[int(fields["partition"]), int(fields["offset"])].append(("rejected", fields))
        return dict(found)

    def layouts(self):
        """Every way to group neighbouring stages into workers."""
        for ways in product(*(list(cuts(segment)) for segment in self.plan.segments)):
            yield tuple(group for way in ways for group in way)


def cuts(stages):
    """Every way to cut stages into groups of neighbours."""
    for chosen in range(2 ** (len(stages) - 1)):
        marks = [0, *((chosen >> i) & 1 for i in range(len(stages) - 1))]
        numbered = zip(np.cumsum(marks).tolist(), stages, strict=True)
        yield [tuple(stage for _, stage in group) for _, group in groupby(numbered, key=lambda pair: pair[0])]


def place(record):
    headers = dict(record[3])
    return int(headers[HEADERS["offset"]]), record[2] or b""


HOPS = [
    tm.window("tide", "20s", resolution="4s", grace="4s", alike=tm.count(), alike_sum=tm.sum("height")),
    tm.window("count", "30s", counted=tm.count(), counted_last=tm.last("tide_number")),
    # Raises for every second number of events: what is rejected here has been counted.
    tm.expression(even=pl.col("alike").cast(pl.String).str.to_integer(base=2)),
]


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    return make_world(tmp_path_factory.mktemp("laws"), [])


@pytest.fixture(scope="session")
def hop_world(tmp_path_factory):
    """The same with windows on two other keys."""
    return make_world(tmp_path_factory.mktemp("laws"), HOPS)


@pytest.fixture(scope="session")
def adaptive_world(world):
    """The same with the model that adapts, which takes missing values."""
    random = np.random.default_rng(0)
    data = pd.DataFrame(random.normal(size=(300, 3)), columns=MODEL_FEATURES)
    data.loc[::7, "height"] = np.nan
    learned = tm.AdaptiveClassifier(classes=world.plan.target.classes)
    learned.learn_many(data, data["seen"] > 0)
    return World(world.plan, ServedModel("m2", tuple(MODEL_FEATURES), Scorer(learned, world.plan.target)))


@pytest.fixture(params=["world", "hop_world", "adaptive_world"])
def every_world(request):
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["world", "hop_world"])
def any_world(request):
    return request.getfixturevalue(request.param)


def make_world(base, more):
    (base / "stations.csv").write_text(STATIONS)
    stations = tm.file_table("stations", "stations.csv", key=["station"])
    pipeline = tm.Pipeline(
        "laws",
        tm.Events(READING, key="station", time="at", id="id"),
        checks=[
            tm.between("height", -100, 100),
            tm.one_of("station", ["A", "B", "C"], on_failure="warn"),
            tm.check("few_digits", pl.col("tide").cast(pl.Int64) < 1000),
            tm.not_late("30s"),
            tm.not_late("8s", on_failure="flag"),
            tm.not_in_future("1h"),
            tm.unique("20s"),
        ],
        features=[
            tm.fields("height", "station", "too_late"),
            tm.expression(
                tide_number=100 // pl.col("tide").cast(pl.Int64), letter=pl.col("tide").str.to_integer(base=7)
            ),
            tm.lookup(stations, on=["station"], columns=["depth"]),
            tm.window(
                "station",
                "20s",
                resolution="4s",
                grace="4s",
                seen=tm.count(),
                known=tm.count("height"),
                total=tm.sum("height"),
                average=tm.mean("level"),
                least=tm.min("height"),
                most=tm.max("height"),
                earliest=tm.first("level"),
                latest=tm.last("level"),
                spread=tm.std("height"),
                tides=tm.distinct("tide", limit=3),
                levels=tm.distinct("level"),
                since=tm.time_since_last(),
                decayed=tm.decayed_mean("height", "5s"),
            ),
            tm.expression(excess=pl.col("height") - pl.col("average")),
            *more,
        ],
        labels=tm.Labels(FLOOD, id="id", label=pl.col("over")),
        model=tm.Model(LogisticRegression(), MODEL_FEATURES),
        base=base,
    )
    plan = pipeline.plan()
    random = np.random.default_rng(0)
    # It takes no missing value: events without a height make it raise.
    data = pd.DataFrame(random.normal(size=(200, 3)), columns=MODEL_FEATURES)
    fitted = LogisticRegression().fit(data, random.random(200) < 0.5)
    model = ServedModel("m1", tuple(MODEL_FEATURES), Scorer(fitted, plan.target))
    return World(plan, model)


@pytest.fixture(autouse=True)
def expressions_are_tried_once(world, monkeypatch):
    """They were tried on made-up rows when the plan was made; again for every worker would take minutes."""
    for module in ("sanity_check.stage", "feature_enrichment.plan"):
        monkeypatch.setattr(f"tidemill.processors.{module}.require_rowwise", lambda *_: None)
