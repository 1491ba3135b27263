"""Producing single messages: events, labels, schemas, models. Delivery errors are raised, not logged."""

from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from tidemill.schemas.errors import StreamError
from tidemill.streams.kafka.committer import producer_settings
from tidemill.streams.kafka.connection import Connection, translate
from tidemill.streams.ports import Headers


class Publisher:
    """An idempotent producer with Java's partitioner: keys go to the same partitions as from a Java client."""

    def __init__(self, connection: Connection, client_id: str = "tidemill-client", max_failures: int = 10) -> None:
        self._connection = connection
        self._producer = Producer(producer_settings(connection, client_id))
        self._failures: list[str] = []
        self._failed = 0
        self._max_failures = max_failures
        self.delivered = 0
        self._offsets: dict[str, int] = {}

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        *,
        headers: Headers | None = None,
        partition: int | None = None,
        timestamp: int | None = None,
    ) -> None:
        """Queue one message; raises the delivery errors of earlier ones."""
        more: dict[str, Any] = {}
        if headers is not None:
            more["headers"] = headers
        if partition is not None:
            more["partition"] = partition
        if timestamp is not None:
            more["timestamp"] = timestamp
        while True:
            try:
                self._producer.produce(topic, value, key, on_delivery=self._delivered, **more)
                break
            except BufferError:
                self._producer.poll(0.1)
            except KafkaException as error:
                raise translate(error, f"sending to {topic}", self._connection) from None
        self._producer.poll(0)
        self._raise()

    def flush(self, timeout: float = 60) -> None:
        """Wait until everything is delivered.

        Raises:
            StreamError: some messages were not; the first reasons are named.

        """
        left = self._producer.flush(timeout)
        self._raise()
        if left:
            raise StreamError(
                f"{left} messages were not delivered to {self._connection.bootstrap_servers} within {timeout:g} s"
            )

    def first_offset(self, topic: str) -> int:
        """The offset of the first message that this publisher had delivered to the topic."""
        return self._offsets[topic]

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is None:
            self.delivered += 1
            self._offsets.setdefault(message.topic(), message.offset())
            return
        self._failed += 1
        if len(self._failures) < self._max_failures:
            self._failures.append(f"{message.topic()}: {error.str()}")

    def _raise(self) -> None:
        if self._failed:
            failed, reasons = self._failed, "; ".join(dict.fromkeys(self._failures))
            self._failed, self._failures = 0, []
            raise StreamError(
                f"{failed} messages were not delivered to {self._connection.bootstrap_servers}: {reasons}"
            )
