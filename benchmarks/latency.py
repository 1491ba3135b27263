"""End to end: from the timestamp of an event's record to the moment that a subscriber has its prediction."""

import time
from typing import Any

import cluster
import job
import numpy as np
from children import child, settings, workers

from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.subscription import KafkaSubscription

WARM_UP_SECONDS = 3.0
MODES = ("exactly-once", "at-least-once")
RATES = (1_000, 10_000)


def measure(connection: Connection, delivery: str, rate: int, seconds: float) -> dict[str, float]:
    """Milliseconds at p50 and p99, of a worker that does nothing else."""
    declared = {"name": f"latency-{delivery}-{rate}", "publish": ("validated", "features", "predictions")}
    pipeline = job.declare(**declared)
    cluster.prepare(connection, pipeline)
    with workers(connection, declared, delivery=delivery) as one:
        one.go()
        found = paced(connection, declared, rate, seconds)
    cluster.drop(connection, pipeline.name)
    return found


def paced(
    connection: Connection, declared: dict[str, Any], rate: int, seconds: float, cards: int = job.CARDS
) -> dict[str, float]:
    """Send at an even rate from another process and take the time here; workers must be running."""
    total = int(rate * (WARM_UP_SECONDS + seconds))
    subscription = KafkaSubscription(connection, f"{declared['name']}.predictions")
    stamps: list[int] = []
    waits: list[float] = []
    arguments = (connection.bootstrap_servers, rate, WARM_UP_SECONDS + seconds, cards)
    with child("pacer.py", *arguments, env=settings(declared)) as pacer:
        deadline = time.monotonic() + 60 + total / rate
        while len(stamps) < total:
            records = subscription.poll(0.5)
            now = time.time() * 1000
            stamps += [record.timestamp for record in records]
            waits += [now - record.timestamp for record in records]
            if pacer.poll():
                raise RuntimeError("the producer failed; its message is above")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(stamps):,} of {total:,} predictions came; the worker's message is above")
    subscription.close()
    measured = np.array(waits)[np.array(stamps) >= stamps[0] + WARM_UP_SECONDS * 1000]
    p50, p99 = np.percentile(measured, (50, 99)).tolist()
    return {"p50": p50, "p99": p99, "events": len(measured)}
