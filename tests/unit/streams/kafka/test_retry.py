import pytest
from confluent_kafka import KafkaError, KafkaException

from tidemill.schemas.errors import StreamError
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.retry import retry

CLUSTER = Connection("kafka:9092")


def failing(*codes):
    """Raises these errors one after the other, then answers."""
    left = list(codes)

    def ask():
        if left:
            raise KafkaException(KafkaError(left.pop(0)))
        return "answer"

    return ask


@pytest.mark.parametrize(
    "code",
    [
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_COORDINATOR,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError._TRANSPORT,
    ],
)
def test_what_passes_by_itself_is_asked_again(code):
    assert retry(failing(code, code), "asking", CLUSTER, 10) == "answer"


def test_an_error_that_stays_is_raised_at_once():
    with pytest.raises(StreamError, match=r"asking failed on kafka:9092: .*authorization failed"):
        retry(failing(KafkaError.TOPIC_AUTHORIZATION_FAILED), "asking", CLUSTER, 10)


def test_a_passing_error_that_stays_is_raised_after_the_timeout():
    with pytest.raises(StreamError, match=r"asking failed on kafka:9092: "):
        retry(failing(*[KafkaError._TIMED_OUT] * 100), "asking", CLUSTER, 0.1)
