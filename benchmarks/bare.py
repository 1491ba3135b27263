"""The yardstick: a loop that only copies, as fast as confluent-kafka lets Python do it.

Consumes the events and produces each message's bytes to `copies` topics, in transactions of one batch with the offsets, like
the job does. No decoding, no state, no model.
"""

import json
import sys
import time

from confluent_kafka import Consumer, Producer, TopicPartition

BATCH = 10_000


def main(servers: str, topic: str, outputs: list[str], count: int) -> None:
    """Copy `count` messages; prints seconds and CPU seconds from the first message to the last commit."""
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
            "batch.num.messages": 10_000,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    producer.init_transactions()
    consumer.subscribe([topic])
    done, started, cpu = 0, 0.0, 0.0
    produce = producer.produce
    while done < count:
        messages = consumer.consume(BATCH, 0.05)
        if not messages:
            continue
        if not done:
            started, cpu = time.perf_counter(), time.process_time()
        producer.begin_transaction()
        ends: dict[int, int] = {}
        for message in messages:
            key, value, partition = message.key(), message.value(), message.partition()
            for output in outputs:
                produce(output, value, key, partition)
            ends[partition] = message.offset() + 1
        producer.poll(0)
        offsets = [TopicPartition(topic, partition, end) for partition, end in ends.items()]
        producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata())
        producer.commit_transaction()
        done += len(messages)
    print(json.dumps({"seconds": time.perf_counter() - started, "cpu": time.process_time() - cpu, "events": done}))
    consumer.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3].split(","), int(sys.argv[4]))
