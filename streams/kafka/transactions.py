"""Transactions outside a worker, under a name of their own."""

from collections.abc import Sequence

from confluent_kafka import KafkaException

from tidemill.streams.kafka.committer import TRANSACTION_TIMEOUT_MS, Outbox, abort, until_decided
from tidemill.streams.kafka.connection import Connection, translate
from tidemill.streams.ports import Output


class KafkaTransactions:
    """`Transactions` over Kafka; made, it has fenced whoever held `transactional_id` before.

    Raises:
        StreamError: the cluster does not let it have the name.

    """

    def __init__(self, connection: Connection, transactional_id: str) -> None:
        self._connection, self._id = connection, transactional_id
        self._outbox = Outbox(
            connection,
            transactional_id,
            transactional_id=transactional_id,
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
        )
        self._producer = self._outbox.producer
        try:
            until_decided(lambda: self._producer.init_transactions(60))
        except KafkaException as error:
            raise translate(error, f"starting transactions as {transactional_id}", connection) from None

    def commit(self, outputs: Sequence[Output]) -> None:
        """All of it or nothing; see `Transactions.commit`."""
        try:
            self._producer.begin_transaction()
            self._outbox.send(outputs)
            until_decided(lambda: self._producer.commit_transaction(60))
        except KafkaException as error:
            abort(self._producer, f"transaction {self._id} on {self._connection.bootstrap_servers}", error)
