"""What is looked at after a fault: from the raw topics, beside `tidemill audit`."""

import time
from collections import Counter
from dataclasses import dataclass

import chaos_job
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

import tidemill as tm
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.audit import audit
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.plan import Plan
from tidemill.streams.rejections import HEADERS

SECONDS = 60
Place = tuple[int, int]


@dataclass(frozen=True)
class Verdict:
    """The larger number of both audits, and what the comparison with an undisturbed run found."""

    events: int
    missing: int
    doubled: int
    features_equal: bool
    reasons: dict[str, int]
    wrong: str = ""


def judge(connection: Connection, name: str) -> Verdict:
    """Audit a pipeline that has come to its end, and compare its features with those of an undisturbed run."""
    events = read_all(connection, f"{name}.events")
    driver = tm.testing.Driver(chaos_job.declare(name))
    plan = driver.plan
    told = _told(connection, name, plan)
    for event in events:
        record = driver.log.append(
            event.topic(), event.key(), event.value(), partition=event.partition(), timestamp=event.timestamp()[1]
        )
        assert record.offset == event.offset(), "the producer leaves no gaps"
    driver.run()
    schemas = KnownSchemas(list(plan.contracts.values()))
    features = Codec(plan.contracts["features"], schemas)
    expected = _by_place(features, [record.value for record in driver.records("features")])
    found = _by_place(features, [message.value() for message in read_all(connection, plan.topic("features"))])
    unequal = [place for place in expected | found if expected.get(place) != found.get(place)]
    predicted = Codec(plan.contracts["predictions"], schemas)
    answers = Counter(_places(predicted, [m.value() for m in read_all(connection, plan.topic("predictions"))]))
    reasons = Counter[str]()
    for message in read_all(connection, plan.topic("rejected")):
        headers = dict(message.headers())
        answers[int(headers[HEADERS["partition"]]), int(headers[HEADERS["offset"]])] += 1
        reasons[headers[HEADERS["reason"]].decode()] += 1
    sent = {(event.partition(), event.offset()) for event in events}
    missing = len(sent - set(answers))
    doubled = sum(count > 1 for count in answers.values()) + len(set(answers) - sent)
    return Verdict(
        len(events),
        max(missing, told["missing"] + told["waiting"]),
        max(doubled, told["doubled"] + told["unknown"]),
        not unequal,
        dict(reasons.most_common()),
        f"{len(unequal)} features differ, such as that of {min(unequal)}" if unequal else "",
    )


def _told(connection: Connection, name: str, plan: Plan) -> dict[str, int]:
    """What `tidemill audit` counts."""
    reader = KafkaReader(connection)
    found = audit(name, plan.contracts["predictions"], KnownSchemas(list(plan.contracts.values())), reader)
    reader.close()
    counted = ("missing", "doubled", "waiting", "unknown")
    return {field: sum(getattr(partition, field) for partition in found) for field in counted}


def _by_place(codec: Codec, values: list[bytes]) -> dict[Place, list[bytes]]:
    """The messages by their event: more than one where an event was answered twice."""
    found: dict[Place, list[bytes]] = {}
    for place, value in zip(_places(codec, values), values, strict=True):
        found.setdefault(place, []).append(value)
    return found


def _places(codec: Codec, values: list[bytes]) -> list[Place]:
    table = codec.decode(values).table
    return list(zip(table["source_partition"].to_pylist(), table["source_offset"].to_pylist(), strict=True))


def read_all(connection: Connection, topic: str) -> list[Message]:
    """All committed messages of a topic, by a plain consumer."""
    consumer = Consumer(
        connection.client(
            group_id="chaos",
            isolation_level="read_committed",
            enable_auto_commit=False,
            enable_partition_eof=True,
            auto_offset_reset="error",
        )
    )
    parts = [TopicPartition(topic, p, 0) for p in consumer.list_topics(topic, timeout=30).topics[topic].partitions]
    consumer.assign(parts)
    messages, ended, deadline = [], set[int](), time.monotonic() + SECONDS
    while len(ended) < len(parts):
        if time.monotonic() > deadline:
            raise RuntimeError(f"{topic} was not read to its end within {SECONDS} s")
        for message in consumer.consume(10_000, 0.1):
            if message.error() is None:
                messages.append(message)
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
    consumer.close()
    return messages
