"""Reading a topic's committed messages as they come, without a group."""

import time
from collections.abc import Mapping

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from tidemill.schemas.errors import DeclarationError, StreamError, nearest
from tidemill.streams.kafka.connection import Connection, translate
from tidemill.streams.kafka.reader import record_of
from tidemill.streams.ports import LogRecord

FINAL = frozenset(
    {
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.UNKNOWN_TOPIC_OR_PART,
    }
)
"""Errors that waiting does not mend."""
SINCE: Mapping[str, int] = {"beginning": OFFSET_BEGINNING, "now": OFFSET_END}


class KafkaSubscription:
    """All partitions of a topic from the beginning or from now on; with a group, shared with its other members."""

    def __init__(self, connection: Connection, topic: str, since: str = "now", group: str | None = None) -> None:
        if since not in SINCE:
            raise DeclarationError(f"there is no since={since!r}{nearest(since, SINCE)}")
        self._connection, self.topic = connection, topic
        # Outside any group nothing depends on the group that the client library insists on.
        self._final = FINAL if group is not None else FINAL - {KafkaError.GROUP_AUTHORIZATION_FAILED}
        self._consumer = Consumer(
            connection.client(
                group_id=group or "tidemill-subscriber",
                isolation_level="read_committed",
                enable_auto_commit=group is not None,
                auto_offset_reset="earliest" if since == "beginning" else "latest",
            )
        )
        if group is not None:
            self._consumer.subscribe([topic])
            return
        try:
            found = self._consumer.list_topics(topic, timeout=30).topics[topic]
            if found.error is not None:
                raise StreamError(
                    f"{topic}: {found.error.str()}; is the pipeline's name right, and are its topics created?"
                )
            starts = [TopicPartition(topic, p, SINCE[since]) for p in found.partitions]
            if since == "now":
                # The place is fixed now, not at the first poll, so that what is sent after this line is seen.
                for start in starts:
                    start.offset = self._consumer.get_watermark_offsets(start, timeout=30)[1]
            self._consumer.assign(starts)
        except KafkaException as error:
            raise translate(error, f"subscribing to {topic}", connection) from None

    def poll(self, timeout: float, max_records: int = 1_000) -> list[LogRecord]:
        """What has come, waiting up to `timeout` seconds for the first message."""
        deadline = time.monotonic() + timeout
        while True:
            first = self._consumer.poll(max(0.0, min(0.2, deadline - time.monotonic())))
            messages = [] if first is None else [first, *self._consumer.consume(max_records - 1, 0)]
            records = []
            for message in messages:
                error = message.error()
                if error is None:
                    records.append(record_of(message))
                elif error.fatal() or error.code() in self._final:
                    raise translate(error, f"reading {self.topic}", self._connection)
            if records or time.monotonic() >= deadline:
                return records

    def close(self) -> None:
        """Release the connection."""
        self._consumer.close()
