"""Following a topic of one partition: models, schemas, reference tables, profiles."""

from confluent_kafka import Consumer, KafkaError, TopicPartition

from tidemill.streams.kafka.connection import Connection, translate
from tidemill.streams.kafka.reader import KafkaReader, record_of
from tidemill.streams.ports import LogRecord


class Follower:
    """Hands out each committed record from `start` on once, in order.

    `catch_up` waits for all that was there; `poll` never waits.
    """

    def __init__(self, connection: Connection, topic: str, start: int = 0) -> None:
        self._connection, self._topic = connection, topic
        self._consumer: Consumer | None = None
        self.next_offset = start
        self.end = 0
        """The end of the topic when `poll` last came to it, transactions that are still open left out."""

    def catch_up(self) -> list[LogRecord]:
        """Everything from the last place to the end that the topic has now."""
        reader = KafkaReader(self._connection)
        try:
            end = reader.end(self._topic, 0)
            records = list(reader.read(self._topic, 0, self.next_offset, end))
        finally:
            reader.close()
        self.next_offset = max(self.next_offset, end)
        return records

    def poll(self, most: int = 1_000) -> list[LogRecord]:
        """What has come since, if anything; at most so many."""
        if self._consumer is None:
            settings = {
                "isolation.level": "read_committed",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
            }
            self._consumer = Consumer(
                self._connection.client(group_id="tidemill-follower", fetch_wait_max_ms=100) | settings
            )
            self._consumer.assign([TopicPartition(self._topic, 0, self.next_offset)])
        records = []
        for message in self._consumer.consume(most, 0):
            error = message.error()
            if error is None:
                records.append(record_of(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                self.end = message.offset()
            elif error.fatal() or error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise translate(error, f"following {self._topic}", self._connection)
        if records:
            self.next_offset = records[-1].offset + 1
        return records

    def close(self) -> None:
        """Release the connection."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
