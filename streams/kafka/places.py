"""Where the rollout judge goes on reading: committed offsets of a group, with the stage that they hold for beside."""

from collections.abc import Mapping, Sequence

from confluent_kafka import Consumer, KafkaException, TopicPartition

from tidemill.streams.kafka.connection import Connection, translate
from tidemill.streams.ports import Place

_SECONDS = 30.0


class KafkaPlaces:
    """Places of a group that nobody joins; see `streams.ports.Places`. Nothing is lost if the group is: all is read."""

    def __init__(self, connection: Connection, group: str) -> None:
        self._connection = connection
        self._consumer = Consumer(connection.client(group_id=group, enable_auto_commit=False))

    def load(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], Place]:
        """Those that were saved.

        Raises:
            StreamError: they could not be asked for.

        """
        asked = [TopicPartition(topic, partition) for topic, partition in partitions]
        try:
            found = self._consumer.committed(asked, timeout=_SECONDS)
        except KafkaException as error:
            raise translate(error, "asking for the judge's places", self._connection) from None
        return {
            (each.topic, each.partition): (int(each.metadata), each.offset)
            for each in found
            if each.error is None and each.offset >= 0 and (each.metadata or "").isdecimal()
        }

    def save(self, places: Mapping[tuple[str, int], Place]) -> None:
        """Keep these.

        Raises:
            StreamError: they could not be kept.

        """
        told = [
            TopicPartition(topic, partition, offset, str(stage))
            for (topic, partition), (stage, offset) in places.items()
        ]
        try:
            self._consumer.commit(offsets=told, asynchronous=False)
        except KafkaException as error:
            raise translate(error, "keeping the judge's places", self._connection) from None

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()
