"""Events that go in at an even rate, and the answers that come out, with the time at which they did."""

import threading
import time
from collections.abc import Callable, Iterator

import chaos_job
from confluent_kafka import Consumer, Producer, TopicPartition

from tidemill.outgoing import Outgoing
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.kafka.committer import producer_settings
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.plan import Plan

CHUNK = 5_000
BAD_EVERY = 97
"""One message in so many is not an event at all."""


def milliseconds() -> int:
    """The time of day, as records are stamped."""
    return int(time.time() * 1000)


class Traffic:
    """Sends on one thread, until it is told to pause or to close, and listens on another.

    An answer's record has its event's timestamp, so that it says when the event was sent.
    """

    def __init__(self, connection: Connection, plan: Plan, rate: int, first: int) -> None:
        self._connection, self._plan, self._rate, self._first = connection, plan, rate, first
        self.sent = self.answered = 0
        self._latest: dict[int, list[tuple[int, int]]] = {p: [] for p in range(plan.partitions)}
        self._flowing, self._idle, self._closed = threading.Event(), threading.Event(), threading.Event()
        self._failure: BaseException | None = None
        self._sender = self._start(self._send)
        self._listener = self._start(self._listen)

    def _start(self, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised where the others wait
                self._failure = error

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def check(self) -> None:
        """Raise what ended one of the threads."""
        if self._failure is not None:
            raise self._failure

    def _messages(self) -> Iterator[tuple[bytes | None, bytes]]:
        outgoing = Outgoing(self._plan.contracts["events"], KnownSchemas(list(self._plan.contracts.values())))
        while True:
            for number, message in enumerate(outgoing.messages(chaos_job.events(self._first, CHUNK))):
                yield message
                if number % BAD_EVERY == 0:
                    yield message[0], message[1][: number % 40]
            self._first += CHUNK

    def _send(self) -> None:
        producer = Producer(producer_settings(self._connection, "chaos-sender") | {"linger.ms": 0})
        messages, topic = self._messages(), self._plan.topic("events")
        started, before = time.monotonic(), 0
        while not self._closed.is_set():
            if not self._flowing.is_set():
                if producer.flush(120):
                    raise RuntimeError("events could not be delivered within 120 s")
                self._idle.set()
                self._flowing.wait(0.1)
                started, before = time.monotonic(), self.sent
                continue
            for _ in range(int((time.monotonic() - started) * self._rate) - (self.sent - before)):
                key, value = next(messages)
                producer.produce(topic, value, key, timestamp=milliseconds())
                self.sent += 1
            producer.poll(0)
            time.sleep(0.002)

    def _listen(self) -> None:
        consumer = Consumer(
            self._connection.client(
                group_id="chaos", isolation_level="read_committed", enable_auto_commit=False, fetch_wait_max_ms=10
            )
        )
        topics = [self._plan.topic("predictions"), self._plan.topic("rejected")]
        consumer.assign([TopicPartition(topic, p, 0) for topic in topics for p in self._latest])
        while not self._closed.is_set():
            found = [message for message in consumer.consume(2_000, 0.05) if message.error() is None]
            now = milliseconds()
            self.answered += len(found)
            for message in found:
                if message.topic() == topics[0]:
                    self._latest[message.partition()].append((message.timestamp()[1], now))
        consumer.close()

    def recovered(self, since: int) -> float | None:
        """Seconds from then until each partition had a prediction for an event sent after it; None if one has none."""
        first = [min((now for sent, now in answers if sent > since), default=None) for answers in self._latest.values()]
        return None if None in first else (max(first) - since) / 1000

    def flow(self) -> None:
        """Send from now on."""
        self._idle.clear()
        self._flowing.set()

    def pause(self) -> None:
        """Send no more for now; returns when all that was sent is delivered."""
        self._idle.clear()
        self._flowing.clear()
        while not self._idle.wait(0.1):
            self.check()

    def close(self) -> None:
        """End both threads."""
        self._closed.set()
        self._sender.join(10)
        self._listener.join(10)
