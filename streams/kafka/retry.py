"""Asking again while a cluster is between two states: a leader being elected, a coordinator moving."""

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

from tidemill.streams.kafka.connection import Connection, translate

T = TypeVar("T")
PASSING = frozenset(
    {
        KafkaError._NOENT,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.REQUEST_TIMED_OUT,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
    }
)
_PAUSE_SECONDS = 0.05


def retry(ask: Callable[[], T], doing: str, connection: Connection, timeout: float) -> T:
    """The answer of `ask`, which is called again while its error is a passing one.

    Raises:
        StreamError: another error, or a passing one for longer than `timeout` seconds.

    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in PASSING or time.monotonic() > deadline:
                raise translate(error, doing, connection) from None
            time.sleep(_PAUSE_SECONDS)
