"""The input topic, shared by a consumer group."""

from operator import itemgetter
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from tidemill.schemas.errors import CommitAborted
from tidemill.streams.kafka.connection import Connection, translate
from tidemill.streams.kafka.subscription import FINAL
from tidemill.streams.ports import Assignments, Records

SESSION_TIMEOUT_MS = 6_000
MAX_POLL_INTERVAL_MS = 15 * 60 * 1000


class KafkaSource:
    """A `Source` over a consumer group with cooperative rebalancing.

    State is restored inside the rebalance, before the first message of the partition is fetched, and the partition then
    starts at exactly the offset at which its state stands.
    """

    def __init__(
        self, connection: Connection, topic: str, group: str, client_id: str, assignments: Assignments
    ) -> None:
        self._connection, self._topic, self._assignments = connection, topic, assignments
        self._owned: set[int] = set()
        self._stale: set[int] = set()
        self._ends: dict[int, int] = {}
        self._failure: BaseException | None = None
        self._member: str | None = None
        self._metadata: Any | None = None
        self.consumer = Consumer(
            connection.client(
                group_id=group,
                client_id=client_id,
                isolation_level="read_committed",
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                partition_assignment_strategy="cooperative-sticky",
                session_timeout_ms=SESSION_TIMEOUT_MS,
                heartbeat_interval_ms=1_000,
                max_poll_interval_ms=MAX_POLL_INTERVAL_MS,
                enable_partition_eof=True,
                # A fetch is answered as soon as there is something: only the news that there is nothing has to wait.
                fetch_wait_max_ms=100,
                queued_min_messages=100_000,
                fetch_message_max_bytes=4 * 1024 * 1024,
            )
        )
        self.consumer.subscribe([topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

    def poll(self, max_records: int, timeout: float) -> Records:
        """Take what is there; see `Source.poll`."""
        self._stale.clear()
        messages = self._take(max_records, timeout)
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._stale:
            # They were read before the partition went; whoever owns it now reads them again.
            messages = [m for m in messages if m.partition() not in self._stale]
            for partition in self._stale & self._owned:
                self._seek(partition)
        self._metadata = self._membership()
        records = _columns(messages)
        # The last record of each partition: what has come after its end was the end no more.
        last = dict(zip(records.partition.tolist(), records.offset.tolist(), strict=True)) if self._ends else {}
        self._ends = {p: end for p, end in self._ends.items() if last.get(p, -1) < end}
        return records

    def _take(self, max_records: int, timeout: float) -> list[Message]:
        # One message as soon as there is one, then whatever else has come in: an event does not wait for company.
        first = self.consumer.poll(timeout)
        if first is None:
            return []
        messages = [first, *self.consumer.consume(max_records - 1, 0)] if max_records > 1 else [first]
        return [m for m in messages if self._is_data(m)] if any(map(Message.error, messages)) else messages

    def _is_data(self, message: Message) -> bool:
        error = message.error()
        if error is None:
            return True
        if error.code() == KafkaError._PARTITION_EOF:
            self._ends[message.partition()] = message.offset()
            return False
        if error.fatal() or error.code() in FINAL:
            raise translate(error, f"reading {self._topic}", self._connection)
        return False

    def rewind(self) -> None:
        """Restore every partition and read on from where its state stands."""
        for partition in sorted(self._owned):
            self._assignments.revoked(partition)
            self._seek(partition)

    def _seek(self, partition: int) -> None:
        offset = self._assignments.assigned(partition)
        where = TopicPartition(self._topic, partition, self._start(partition) if offset is None else offset)
        self._ends.pop(partition, None)
        self.consumer.incremental_unassign([TopicPartition(self._topic, partition)])
        self.consumer.incremental_assign([where])

    def _start(self, partition: int) -> int:
        low, _ = self.consumer.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=30)
        return int(low)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            for where in partitions:
                offset = self._assignments.assigned(where.partition)
                if offset is not None:
                    where.offset = offset
                self._owned.add(where.partition)
            consumer.incremental_assign(partitions)
            self._member = consumer.memberid()
        except BaseException as error:  # noqa: BLE001 - raised again by poll, outside librdkafka's callback
            self._failure = error

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        try:
            for where in partitions:
                self._owned.discard(where.partition)
                self._ends.pop(where.partition, None)
                self._stale.add(where.partition)
                self._assignments.revoked(where.partition)
            consumer.incremental_unassign(partitions)
        except BaseException as error:  # noqa: BLE001 - as above
            self._failure = error

    def group_metadata(self) -> Any:
        """The member's generation, for fencing: a commit of a former owner is refused (KIP-447).

        Raises:
            CommitAborted: the group has expelled this member. Its metadata is then empty, and a broker takes offsets
                with empty metadata from anyone.

        """
        if self._metadata is None:
            raise CommitAborted(f"this worker is no longer a member of the group that reads {self._topic}")
        return self._metadata

    def _membership(self) -> Any | None:
        """The group metadata while this is a member. Asked on the thread that polls, between two polls.

        A commit runs on another one, and a rebalance waits for it inside `poll`: a consumer that is asked meanwhile
        from that other thread may never answer. What a rebalance makes old until it is used, the broker refuses.
        """
        metadata = self.consumer.consumer_group_metadata()
        # Asked after the metadata was taken: a member id that is still the same was so all the while.
        return metadata if self.consumer.memberid() == self._member else None

    def ended(self) -> set[int]:
        """The partitions whose end was reached, and of which nothing has come since."""
        return self._owned & self._ends.keys()

    def caught_up(self) -> bool:
        """Whether the end of each of its partitions was reached. One that has none yet, or reads none, is not."""
        return bool(self._owned) and self.ended() == self._owned

    def lag(self) -> dict[int, int]:
        """Offsets between the position and the end, from what the last fetch said."""
        lags = {}
        for partition in sorted(self._owned):
            where = TopicPartition(self._topic, partition)
            position = self.consumer.position([where])[0].offset
            _, high = self.consumer.get_watermark_offsets(where, cached=True)
            if position >= 0 and high >= 0:
                lags[partition] = max(0, high - position)
        return lags

    def close(self) -> None:
        """Leave the group."""
        try:
            self.consumer.close()
        except KafkaException as error:
            raise translate(error, f"leaving the group of {self._topic}", self._connection) from None


def _columns(messages: list[Message]) -> Records:
    # Per message: everything here is a loop in C.
    partition = np.fromiter(map(Message.partition, messages), np.int32, len(messages))
    if (partition[1:] < partition[:-1]).any():
        order = np.argsort(partition, kind="stable")
        partition = partition[order]
        messages = list(map(messages.__getitem__, order.tolist()))
    return Records(
        partition,
        np.fromiter(map(Message.offset, messages), np.int64, len(messages)),
        np.fromiter(map(itemgetter(1), map(Message.timestamp, messages)), np.int64, len(messages)),
        list(map(Message.key, messages)),
        list(map(Message.value, messages)),
        list(map(Message.headers, messages)),
    )
