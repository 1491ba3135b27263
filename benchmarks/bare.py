"""The yardstick: a loop that only copies, as fast as confluent-kafka lets Python do it.

Consumes the events and produces each message's bytes to every output topic, in transactions of one batch with the
offsets, as the job does. No decoding, no state, no model, no timestamps, no delivery reports.

What was tried for the inner loop, each over three topics, by CPU time per event on the same broker by turns (lower is
faster): `produce` message by message with the topics innermost 1.29; the same topic by topic 1.11; by `map(produce,
...)` over lists 1.06; the same with the messages ordered by partition 1.03; `produce_batch` with a partition in every
message 1.17; `produce_batch` per topic and partition, one list of messages for all topics, 1.00: this is what runs
here. A longer `linger.ms` and larger batches changed nothing. (`produce_batch` takes neither timestamps nor headers,
so the job itself cannot use it.)
"""

import json
import sys
import time
from collections import defaultdict
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

BATCH = 10_000


def main(servers: str, topic: str, outputs: list[str], count: int) -> None:
    """Copy `count` messages; prints seconds and CPU seconds from the first batch in hand to the last commit."""
    consumer = Consumer(
        {
            "bootstrap.servers": servers,
            "group.id": f"bare-{time.time_ns()}",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "queued.min.messages": 100_000,
            "fetch.queue.backoff.ms": 5,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "transactional.id": f"bare-{time.time_ns()}",
            "compression.type": "lz4",
            "linger.ms": 5,
            "batch.num.messages": BATCH,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 1_000_000,
            "delivery.report.only.error": True,
        }
    )
    producer.init_transactions()
    consumer.subscribe([topic])
    done, started, cpu = 0, 0.0, 0.0
    while done < count:
        messages = consumer.consume(BATCH, 0.05)
        if not messages:
            continue
        if not done:
            started, cpu = time.perf_counter(), time.process_time()
        producer.begin_transaction()
        copies: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        ends: dict[int, int] = {}
        for message in messages:
            partition = message.partition()
            copies[partition].append({"value": message.value(), "key": message.key()})
            ends[partition] = message.offset() + 1
        for output in outputs:
            for partition, batch in copies.items():
                producer.produce_batch(output, batch, partition)
        offsets = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
        producer.commit_transaction()
        done += len(messages)
    print(json.dumps({"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "events": done}))
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3].split(","), int(sys.argv[4]))
