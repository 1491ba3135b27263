"""The reader's errors."""

from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from tidemill.schemas.errors import StreamError
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.reader import KafkaReader


class Admin:
    """A cluster without the topic, which answers as librdkafka does: first as if only a leader were missing."""

    def __init__(self):
        self.asked = 0

    def list_offsets(self, wanted, **_options):
        self.asked += 1
        failed = Future()
        failed.set_exception(KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE, "No leaders found")))
        return dict.fromkeys(wanted, failed)

    def list_topics(self, topic, **_options):
        return SimpleNamespace(
            topics={topic: SimpleNamespace(error=KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART), partitions={})}
        )


def test_a_topic_that_is_not_there_is_not_waited_for():
    reader = KafkaReader(Connection("127.0.0.1:1"), timeout=30)
    reader._admin = admin = Admin()
    with pytest.raises(StreamError, match=r"mil\.models: .*is the pipeline's name right"):
        reader.end("mil.models", 0)
    assert admin.asked == 1
