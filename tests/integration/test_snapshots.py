"""Local snapshots of state beside a real Kafka."""

from contextlib import closing

import pytest
from confluent_kafka.admin import AdminClient

from tidemill.streams.kafka.admin import apply_topics
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.plan import TopicSpec
from tidemill.streams.snapshots import Snapshots, Snapshotter


@pytest.mark.slow
def test_a_worker_restores_from_snapshots_and_every_event_is_answered_once(make_mill, orders, tmp_path):
    mill = make_mill()
    changelog = f"{mill.name}.changelog"
    connection, snapshots, told = Connection(mill.bootstrap_servers), Snapshots(tmp_path), []
    with mill.worker():
        mill.send(orders.make(300))
        mill.wait(300)
    Snapshotter(
        snapshots, changelog, lambda: {0, 1, 2}, lambda: closing(KafkaReader(connection)), told.append, least=1
    ).round()
    assert told == [True] * 3
    mill.run("--snapshots", str(tmp_path))
    # Some are copies of earlier ones: the remembered ids must have come back.
    mill.send(orders.make(300))
    mill.send(orders.make(300, seed=1, start=300))
    mill.wait(900)
    assert mill.log().count("restoring from a snapshot") == 3 * 3  # events, labels, and both together
    mill.audit()
    reasons = [answer.rejection["reason"] for each in mill.answers.values() for answer in each if answer.rejection]
    assert reasons.count("duplicate_id") >= 300


def test_a_topic_that_is_created_again_has_another_identity(kafka, pipeline_name):
    connection = Connection(kafka.bootstrap_servers)
    spec, admin = TopicSpec(pipeline_name, 1, {}, ""), AdminClient(connection.client())
    found = []
    for _ in range(2):
        apply_topics(connection, [spec])
        with closing(KafkaReader(connection)) as reader:
            found += [reader.identity(pipeline_name), reader.identity(pipeline_name)]
        admin.delete_topics([pipeline_name])[pipeline_name].result()
    assert found[0] == found[1] != found[2]
