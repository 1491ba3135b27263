"""What the benchmarks run on: an embedded broker of their own, topics full of events, and a model."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import job
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

import tidemill as tm
from tidemill.cli.processes import prepare_cluster
from tidemill.outgoing import Outgoing
from tidemill.processors.online_inference import dump_model
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.broker import EmbeddedBroker
from tidemill.streams.kafka.admin import apply_topics
from tidemill.streams.kafka.committer import producer_settings
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.models import announce
from tidemill.streams.plan import TopicSpec
from tidemill.streams.rollout_log import RolloutLog


@contextmanager
def broker() -> Iterator[Connection]:
    """A broker with an empty disk on a free port, until the end of the block."""
    folder = job.HOME / "broker"
    shutil.rmtree(folder, ignore_errors=True)
    with EmbeddedBroker(folder, port=0, jars=job.HOME.parent / "kafka" / "jars") as started:
        yield Connection(started.bootstrap_servers)
    shutil.rmtree(folder, ignore_errors=True)


def prepare(connection: Connection, pipeline: tm.Pipeline) -> None:
    """Create the topics, and announce a model."""
    plan = pipeline.plan()
    prepare_cluster(plan, connection)
    assert pipeline.model is not None
    event = {
        "estimator": type(pipeline.model.estimator).__name__,
        "features": list(pipeline.model.features),
        "classes": [str(label) for label in plan.target.classes],
        "trained_from": None,
        "trained_until": None,
        "training_offsets": [],
        "training_rows": 0,
        "evaluation_rows": 0,
        "metrics": {},
    }
    announce(
        plan,
        dump_model(job.fitted(pipeline)),
        event,
        datetime.now(UTC),
        Publisher(connection),
        RolloutLog(plan, connection),
    )


def load(
    connection: Connection, pipeline: tm.Pipeline, count: int, cards: int = job.CARDS, *, even: bool = False
) -> None:
    """Put payments on the events topic, as fast as it goes."""
    plan = pipeline.plan()
    outgoing = Outgoing(plan.contracts["events"], KnownSchemas(list(plan.contracts.values())))
    producer = Producer(producer_settings(connection, "bench-load"))
    topic = plan.topic("events")
    for first in range(0, count, job.CHUNK):
        for key, value in outgoing.messages(job.payments(first, min(job.CHUNK, count - first), cards, even=even)):
            producer.produce(topic, value, key)
        producer.flush()


def make_topics(connection: Connection, names: list[str], partitions: int) -> None:
    """Plain topics, as many partitions each."""
    apply_topics(connection, [TopicSpec(name, partitions, {}, "") for name in names])


def drop(connection: Connection, prefix: str) -> None:
    """Delete the topics of a variant of the job: a long benchmark shall not fill the disk."""
    admin = AdminClient(connection.client())
    names = [name for name in admin.list_topics(timeout=30).topics if name.startswith(f"{prefix}.")]
    for future in admin.delete_topics(names).values():
        future.result()
