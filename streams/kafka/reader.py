"""Reading partitions outside a group: for state, for reference topics, for audits."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TypeVar

from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from tidemill.schemas.errors import StreamError
from tidemill.streams.kafka.connection import Connection, translate
from tidemill.streams.kafka.retry import retry
from tidemill.streams.ports import LogRecord

T = TypeVar("T")
TIMEOUT = 60.0
"""Seconds without any progress after which reading gives up."""

NEIGHBOURS = 5_000
"""How far apart two messages may stand and still be read in one go: that costs less than to begin anew."""

_SECONDS_TO_ASK = 5.0


class KafkaReader:
    """A `LogReader` over Kafka, read_committed. Not for use by several threads."""

    def __init__(self, connection: Connection, group: str = "tidemill-reader", timeout: float = TIMEOUT) -> None:
        self._connection, self._group, self._timeout = connection, group, timeout
        self._consumer: Consumer | None = None
        self._admin: AdminClient | None = None
        self._reading: object = None

    def read(self, topic: str, partition: int, start: int = 0, end: int | None = None) -> Iterator[LogRecord]:
        """The committed messages from `start` to `end`, by default to the end that the partition has now.

        "Now" includes transactions that are still open: their outcome is awaited, so that nothing that was written
        before the call is missed.
        """
        end = self.end(topic, partition) if end is None else end
        start = max(start, self.beginning(topic, partition))
        if start >= end:
            return
        consumer = self._assign(topic, partition, start)
        self._reading = reading = object()
        try:
            yield from self._records(consumer, topic, partition, end)
        finally:
            # A consumer that nobody asks goes on fetching, and keeps the broker at work.
            if self._reading is reading and self._consumer is not None:
                self._consumer.unassign()

    def _records(self, consumer: Consumer, topic: str, partition: int, end: int) -> Iterator[LogRecord]:
        deadline = time.monotonic() + self._timeout
        while True:
            # `consume` would wait until it has all that it may take.
            first = consumer.poll(0.5)
            messages = [] if first is None else [first, *consumer.consume(10_000, 0)]
            if messages:
                deadline = time.monotonic() + self._timeout
            elif time.monotonic() > deadline:
                raise StreamError(
                    f"{topic}[{partition}]: expected to read up to {end}, but nothing came for {self._timeout:.0f} s;"
                    " is a transaction left open, or a broker away?"
                )
            for message in messages:
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    if message.offset() >= end:
                        return
                elif error is not None:
                    raise translate(error, f"reading {topic}[{partition}]", self._connection)
                elif message.offset() >= end:
                    return
                else:
                    yield record_of(message)
                    if message.offset() == end - 1:
                        return

    def fetch(self, topic: str, partition: int, offsets: Sequence[int]) -> dict[int, LogRecord]:
        """The messages at these offsets, as far as the log still has them; neighbours are read in one go."""
        wanted = sorted(set(offsets))
        found: dict[int, LogRecord] = {}
        first = 0
        while first < len(wanted):
            last = first
            while last + 1 < len(wanted) and wanted[last + 1] - wanted[last] <= NEIGHBOURS:
                last += 1
            near = set(wanted[first : last + 1])
            records = self.read(topic, partition, wanted[first], min(wanted[last] + 1, self.end(topic, partition)))
            found |= {record.offset: record for record in records if record.offset in near}
            first = last + 1
        return found

    def committed(self, topic: str, partition: int) -> int | None:
        """The group's committed offset, after every open transaction on it is decided."""
        request = ConsumerGroupTopicPartitions(self._group, [TopicPartition(topic, partition)])

        def ask(admin: AdminClient) -> int | None:
            futures = admin.list_consumer_group_offsets([request], require_stable=True, request_timeout=10)
            try:
                offset = int(futures[self._group].result().topic_partitions[0].offset)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                    return None
                raise
            return None if offset < 0 else offset

        return self._ask(ask, f"asking for the offsets of group {self._group}")

    def beginning(self, topic: str, partition: int) -> int:
        """The first offset that the partition still has."""
        return self._offset(topic, partition, OffsetSpec.earliest())

    def end(self, topic: str, partition: int) -> int:
        """The offset after the last message, open transactions included."""
        return self._offset(topic, partition, OffsetSpec.latest())

    def identity(self, topic: str) -> str:
        """The topic's id, which a topic of the same name that is created later does not have."""

        def ask(admin: AdminClient) -> str:
            futures = admin.describe_topics(TopicCollection([topic]), request_timeout=10)
            return str(futures[topic].result().topic_id)

        return self._ask(ask, f"asking for the id of topic {topic}")

    def partitions(self, topic: str) -> list[int]:
        """The topic's partitions.

        Raises:
            StreamError: there is no such topic.

        """
        try:
            found = self._admin_client().list_topics(topic, timeout=self._timeout).topics[topic]
        except KafkaException as error:
            raise translate(error, f"asking for topic {topic}", self._connection) from None
        if found.error is not None:
            raise _absent(topic, found.error)
        return sorted(found.partitions)

    def topics(self, prefix: str) -> list[str]:
        """The topics whose names begin with `prefix`."""
        try:
            found = self._admin_client().list_topics(timeout=self._timeout).topics
        except KafkaException as error:
            raise translate(error, "asking for topics", self._connection) from None
        return sorted(name for name in found if name.startswith(prefix))

    def close(self) -> None:
        """Release the connection."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None
        self._admin = None

    def _offset(self, topic: str, partition: int, spec: OffsetSpec) -> int:
        where = TopicPartition(topic, partition)

        def ask(admin: AdminClient) -> int:
            futures = admin.list_offsets(
                {where: spec}, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=10
            )
            try:
                return int(futures[where].result().offset)
            except KafkaException:
                # To this request a topic that is not there is one without a leader, which would be waited for.
                self._require(admin, topic)
                raise

        return self._ask(ask, f"asking for offsets of {topic}[{partition}]")

    def _require(self, admin: AdminClient, topic: str) -> None:
        """Raise StreamError if the cluster says that there is no such topic; whatever else it says is for others."""
        with suppress(KafkaException):
            error = admin.list_topics(topic, timeout=_SECONDS_TO_ASK).topics[topic].error
            if error is not None and error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise _absent(topic, error)

    def _ask(self, ask: Callable[[AdminClient], T], doing: str) -> T:
        def attempt() -> T:
            try:
                return ask(self._admin_client())
            except KafkaException:
                # A client that knows a leader's epoch from before a broker's restart never learns the new one.
                self._admin = None
                raise

        return retry(attempt, doing, self._connection, self._timeout)

    def _assign(self, topic: str, partition: int, start: int) -> Consumer:
        if self._consumer is None:
            settings = {"enable.partition.eof": True, "isolation.level": "read_committed", "enable.auto.commit": False}
            tuning = {
                "fetch.wait.max.ms": 10,
                "fetch.queue.backoff.ms": 5,
                "topic.metadata.refresh.fast.interval.ms": 20,
                "queued.min.messages": 100_000,
                "fetch.message.max.bytes": 4 * 1024 * 1024,
                "check.crcs": True,
            }
            self._consumer = Consumer(self._connection.client(group_id=self._group) | settings | tuning)
        # A client that knows the topic's leader starts at once; left to itself it asks only after a second.
        self._consumer.list_topics(topic, timeout=self._timeout)
        self._consumer.assign([TopicPartition(topic, partition, start)])
        return self._consumer

    def _admin_client(self) -> AdminClient:
        if self._admin is None:
            self._admin = AdminClient(self._connection.client())
        return self._admin


def _absent(topic: str, error: KafkaError) -> StreamError:
    return StreamError(
        f"{topic}: {error.str()}; is the pipeline's name right? `tidemill topics apply` creates a pipeline's topics"
    )


def record_of(message: Message) -> LogRecord:
    """A message of the client library as ours."""
    return LogRecord(
        message.partition(),
        message.offset(),
        message.timestamp()[1],
        message.key(),
        message.value(),
        message.headers() or [],
    )
