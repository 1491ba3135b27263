"""Making a prepared batch visible: exactly once by a transaction, or at least once."""

from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, NoReturn

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from tidemill.schemas.errors import CommitAborted, Fenced, StreamError
from tidemill.streams.kafka.connection import Connection, translate
from tidemill.streams.kafka.source import KafkaSource
from tidemill.streams.ports import ChangelogEntry, Output, Prepared

TRANSACTION_TIMEOUT_MS = 10_000
_FENCED = (KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH)


def producer_settings(connection: Connection, client_id: str) -> dict[str, Any]:
    """What every producer of ours has: idempotence, compression, and Java's partitioner."""
    return connection.client(
        client_id=client_id,
        enable_idempotence=True,
        compression_type="lz4",
        partitioner="murmur2_random",
        linger_ms=5,
        batch_num_messages=10_000,
        batch_size=1_000_000,
        queue_buffering_max_messages=1_000_000,
        queue_buffering_max_kbytes=512 * 1024,
        message_max_bytes=4 * 1024 * 1024,
    )


def until_decided(step: Callable[[], object]) -> None:
    """Call it again as long as librdkafka asks for that, because it is not yet decided; its own timeouts bound this."""
    while True:
        try:
            step()
            return
        except KafkaException as error:
            if not error.args[0].retriable() or error.args[0].txn_requires_abort():
                raise


def abort(producer: Producer, where: str, cause: KafkaException) -> NoReturn:
    """Roll back after a failed step, and say by the error's class what that means; see `Committer.commit`."""
    error = cause.args[0]
    if error.code() in _FENCED or (error.fatal() and not error.txn_requires_abort()):
        raise Fenced(f"{where}: another one holds this one's place ({error.str()}); this one stops") from None
    try:
        until_decided(lambda: producer.abort_transaction(60))
    except KafkaException as second:
        raise Fenced(f"{where} could not be aborted: {second.args[0].str()}; start this one again") from None
    raise CommitAborted(f"{where} was rolled back: {error.str()}") from None


class Outbox:
    """Hands messages to librdkafka and keeps the first delivery error.

    The one loop that runs for every message: arguments by position, and no callback for what was delivered, are worth a
    third of its time.
    """

    def __init__(self, connection: Connection, client_id: str, **settings: Any) -> None:
        self._failed: KafkaError | None = None
        # A message that was delivered is not reported one by one: a flush, or a commit, says so for all.
        reports = {"delivery.report.only.error": True, "on_delivery": self._delivered}
        own = {name.replace("_", "."): value for name, value in settings.items()}
        self.producer = Producer(producer_settings(connection, client_id) | reports | own)

    def _delivered(self, error: KafkaError | None, _: object) -> None:
        if error is not None and self._failed is None:
            self._failed = error

    def send(self, outputs: Sequence[Output]) -> None:
        """Queue the messages of every output."""
        for output in outputs:
            headers = repeat(None) if output.headers is None else output.headers
            columns = (output.values, output.keys, output.partition.tolist(), np.maximum(output.timestamp, 0).tolist())
            self._produce(output.topic, zip(*columns, headers, strict=False))
            self.producer.poll(0)

    def send_changelog(self, topic: str, entries: Sequence[ChangelogEntry]) -> None:
        """Queue pieces of state."""
        self._produce(topic, ((entry.value, entry.key, entry.partition, 0, None) for entry in entries))

    def _produce(self, topic: str, messages: Iterable[tuple[Any, ...]]) -> None:
        produce = self.producer.produce
        for value, key, partition, timestamp, header in messages:
            while True:
                try:
                    produce(topic, value, key, partition, None, None, timestamp, header)
                    break
                except BufferError:
                    self.producer.poll(0.1)

    def flush(self) -> None:
        """Wait for all of it; raises the first delivery error."""
        self.producer.flush()
        if self._failed is not None:
            error, self._failed = self._failed, None
            raise KafkaException(error)


class ExactlyOnce:
    """Exactly once, by one transaction a batch.

    Its order:

    1. the outputs of all stages;
    2. the changelog: changed state, and the position that it belongs to;
    3. the input offsets, with the group's generation (KIP-447), so that a former owner is fenced;
    4. the commit, which makes all of it visible at once.

    The transactional id is stable for a worker's place: whoever takes the place aborts what its predecessor left open.
    """

    def __init__(
        self, connection: Connection, source: KafkaSource, topic: str, changelog: str, transactional_id: str
    ) -> None:
        self._connection, self._source, self._topic, self._changelog = connection, source, topic, changelog
        self._outbox = Outbox(
            connection,
            transactional_id,
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
            # A transaction that begins while the markers of the one before are being written is told to come again:
            # by default after 100 ms, which every small batch would wait.
            retry_backoff_ms=2,
        )
        self._producer = self._outbox.producer
        try:
            self._producer.init_transactions(60)
        except KafkaException as error:
            raise translate(error, f"starting transactions as {transactional_id}", connection) from None

    def commit(self, prepared: Prepared) -> None:
        """All of it or nothing; see `Committer.commit`."""
        generation = self._source.group_metadata()
        try:
            self._producer.begin_transaction()
            self._outbox.send(prepared.outputs)
            self._outbox.send_changelog(self._changelog, prepared.changelog)
            offsets = [TopicPartition(self._topic, p, offset) for p, offset in prepared.offsets.items()]
            until_decided(lambda: self._producer.send_offsets_to_transaction(offsets, generation, 30))
            until_decided(lambda: self._producer.commit_transaction(60))
        except KafkaException as error:
            abort(self._producer, f"transaction on {self._connection.bootstrap_servers}", error)

    def close(self) -> None:
        """Nothing: between two commits nothing is queued, and what a failed one left open ends with the process."""


class AtLeastOnce:
    """At least once, by an idempotent producer.

    The order keeps state and outputs in step as far as that can be:

    1. the outputs, and wait until they are delivered;
    2. the changelog, and wait: a position in it says that its outputs are out;
    3. the group's offsets, without waiting.

    A crash between 1 and 2 repeats outputs, with the same bytes, because the state is still the old one.
    """

    def __init__(self, connection: Connection, source: KafkaSource, topic: str, changelog: str, client_id: str) -> None:
        self._connection, self._source, self._topic, self._changelog = connection, source, topic, changelog
        self._outbox = Outbox(connection, client_id)
        self._producer = self._outbox.producer

    def commit(self, prepared: Prepared) -> None:
        """All of it, at least once; see `Committer.commit`."""
        try:
            self._outbox.send(prepared.outputs)
            self._outbox.flush()
            self._outbox.send_changelog(self._changelog, prepared.changelog)
            self._outbox.flush()
        except KafkaException as error:
            if error.args[0].fatal():
                raise StreamError(
                    f"producing to {self._connection.bootstrap_servers} failed for good: {error.args[0].str()}"
                ) from None
            raise CommitAborted(
                f"producing to {self._connection.bootstrap_servers} failed: {error.args[0].str()}"
            ) from None
        offsets = [TopicPartition(self._topic, p, offset) for p, offset in prepared.offsets.items()]
        if not offsets:
            return
        # Not waited for: where to go on stands on the changelog, the group's offset only tells how far it has come.
        try:
            self._source.consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            raise CommitAborted(f"committing the offsets of {self._topic} failed: {error.args[0].str()}") from None

    def close(self) -> None:
        """Wait for librdkafka's queue."""
        self._producer.flush(10)
