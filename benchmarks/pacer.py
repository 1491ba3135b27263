"""Sends payments at an even rate, each stamped when it is handed to the client; prints when the last one was sent."""

import json
import sys
import time

import job
from confluent_kafka import Producer

from tidemill.outgoing import Outgoing
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.kafka.committer import producer_settings
from tidemill.streams.kafka.connection import Connection


def main(servers: str, rate: int, seconds: float, cards: int) -> None:
    plan = job.pipeline.plan()
    outgoing = Outgoing(plan.contracts["events"], KnownSchemas(list(plan.contracts.values())))
    messages = outgoing.messages(job.payments(10_000_000, int(rate * seconds), cards))
    producer = Producer(producer_settings(Connection(servers), "bench-pacer") | {"linger.ms": 0})
    topic, sent, started = plan.topic("events"), 0, time.perf_counter()
    while sent < len(messages):
        due = min(len(messages), int((time.perf_counter() - started) * rate) + 1)
        for key, value in messages[sent:due]:
            producer.produce(topic, value, key, timestamp=int(time.time() * 1000))
        sent = due
        producer.poll(0)
        time.sleep(0.0005)
    producer.flush()
    print(json.dumps({"sent": sent, "seconds": time.perf_counter() - started}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
