import threading

import pytest
from confluent_kafka import KafkaError, TopicPartition

from tidemill.schemas.errors import CommitAborted
from tidemill.streams.kafka import source as module
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.source import KafkaSource


class Message:
    """One of a partition; or that it has no more, which librdkafka says by an error."""

    def __init__(self, partition=0, error=None):
        self._partition, self._error = partition, error

    def error(self):
        return self._error

    def partition(self):
        return self._partition

    def offset(self):
        return 7

    def timestamp(self):
        return 1, 1_000

    def key(self):
        return b"k"

    def value(self):
        return b"v"

    def headers(self):
        return None


class Consumer:
    """Notes on which thread it is asked; knows one member, or has been expelled."""

    def __init__(self, settings):
        self.member, self.asked, self.next = "m1", [], Message()

    def subscribe(self, topics, **callbacks):
        self.assign = callbacks["on_assign"]

    def poll(self, timeout):
        return self.next

    def consume(self, count, timeout):
        return []

    def incremental_assign(self, partitions):
        pass

    def memberid(self):
        self.asked.append(threading.current_thread())
        return self.member

    def consumer_group_metadata(self):
        self.asked.append(threading.current_thread())
        return f"metadata of {self.member}"


class Assignments:
    def assigned(self, partition):
        return None

    def revoked(self, partition):
        pass


@pytest.fixture
def source(monkeypatch):
    monkeypatch.setattr(module, "Consumer", Consumer)
    monkeypatch.setattr(module, "Message", Message)
    made = KafkaSource(Connection("kafka:9092"), "topic", "group", "client", Assignments())
    made.consumer.assign(made.consumer, [])
    return made


def test_a_commit_on_another_thread_does_not_ask_the_consumer(source):
    """A rebalance waits for that commit inside `poll`, and the consumer may not answer before it is over."""
    assert len(source.poll(10, 0)) == 1
    found = []
    thread = threading.Thread(target=lambda: found.append(source.group_metadata()))
    thread.start()
    thread.join(60)
    assert found == ["metadata of m1"]
    assert thread not in source.consumer.asked


def test_what_was_read_by_one_who_was_expelled_is_not_committed(source):
    source.consumer.member = ""
    source.poll(10, 0)
    with pytest.raises(CommitAborted, match="no longer a member"):
        source.group_metadata()


def test_before_anything_was_read_nothing_can_be_committed(source):
    with pytest.raises(CommitAborted):
        source.group_metadata()


def test_it_has_caught_up_when_each_partition_has_ended(source):
    """An empty partition ends before the others' first message has come."""
    assert not source.caught_up()
    source.consumer.assign(source.consumer, [TopicPartition("topic", 0), TopicPartition("topic", 1)])
    end = KafkaError(KafkaError._PARTITION_EOF)
    told = [(Message(1, end), False), (Message(0), False), (Message(0, end), True), (Message(0), False)]
    for source.consumer.next, done in told:
        source.poll(1, 0)
        assert source.caught_up() is done
