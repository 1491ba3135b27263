"""`tidemill rejected`: refused events are looked at, the contract is corrected, and they go through again once."""

import json
import os
import signal
import subprocess
import sys

import pytest
from confluent_kafka import Producer

from tidemill.schemas.errors import Fenced
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.kafka.transactions import KafkaTransactions
from tidemill.streams.rejected_log import Selection
from tidemill.streams.retries import retry, transactional_id

# A retry that is killed when its messages are on the brokers and its transaction is not committed.
KILLED = """
import os, signal, sys
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.kafka.transactions import KafkaTransactions
from tidemill.streams.rejected_log import Selection
from tidemill.streams.retries import retry, transactional_id

servers, name = sys.argv[1:]
transactions = KafkaTransactions(Connection(servers), transactional_id(name))
producer = transactions._producer

class Killed:
    def commit(self, outputs):
        producer.begin_transaction()
        transactions._outbox.send(outputs)
        producer.flush()
        print("sent", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

retry(KafkaReader(Connection(servers)), name, Selection(), Killed())
"""


@pytest.fixture(scope="module")
def mill(make_mill, orders):
    """A pipeline that has refused some orders that cost too much, and bytes that are none."""
    mill = make_mill()
    with mill.worker():
        mill.send([{**order, "amount": order["amount"] + 900 * (number % 2)} for number, order in
                   enumerate(orders.make(120))])  # fmt: skip
        mill.produce([(b"c1", b"\xff\xfe garbage"), (None, None)])
        mill.wait(122)
    return mill


def rejected(mill, *arguments, code=0):
    """Run a `tidemill rejected` command with --json; returns the documents that it printed."""
    command, *rest = arguments
    printed = mill.cli("rejected", command, mill.name, *rest, "--json", code=code)
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


def counted(mill):
    (found,) = rejected(mill, "list")
    return {kind["reason"]: kind for kind in found["kinds"]}


def test_rejections_are_listed_and_shown(mill):
    kinds = counted(mill)
    assert {"out_of_range", "unknown_framing", "empty_value"} <= set(kinds)
    kind = kinds["out_of_range"]
    assert kind["count"] > 20
    assert kind["retried"] == 0
    assert "expected" in kind["example"]
    (whole,) = rejected(mill, "show", kind["place"])
    assert whole["place"] == kind["place"]
    assert whole["fields"]["amount"] > 1000
    assert rejected(mill, "show", whole["event"]) == [whole]
    (garbage,) = rejected(mill, "show", "--reason", "unknown_framing")
    assert bytes.fromhex(garbage["hex"]) == b"\xff\xfe garbage"
    assert len(rejected(mill, "show", "--reason", "out_of_range", "-n", "3")) == 3
    assert "hex" in mill.cli("rejected", "show", mill.name, "--reason", "unknown_framing")
    assert "out_of_range: expected" in mill.cli("rejected", "list", mill.name)
    assert "no rejection of" in mill.cli("rejected", "show", mill.name, "0@99999", code=2)
    assert "or else say --all" in mill.cli("rejected", "retry", mill.name, code=2)


def test_they_go_through_again_exactly_once_whatever_is_killed(mill, make_mill):
    """A retry that is killed with an open transaction, two at once, and one after the other: one copy of each."""
    before = counted(mill)["out_of_range"]["count"]
    command = [sys.executable, "-c", KILLED, mill.bootstrap_servers, mill.name]
    killed = subprocess.run(command, env=os.environ | mill.environment, capture_output=True, timeout=60, check=False)
    assert (killed.returncode, killed.stdout) == (-signal.SIGKILL, b"sent\n"), killed.stderr

    chosen, connection = Selection(reasons=frozenset({"out_of_range"})), Connection(mill.bootstrap_servers)
    first = KafkaTransactions(connection, transactional_id(mill.name))
    (planned,) = rejected(mill, "retry", "--reason", "out_of_range", "--dry-run")
    assert (planned["sent"], planned["dry_run"]) == (before, True)
    (sent,) = rejected(mill, "retry", "--reason", "out_of_range")
    assert (sent["sent"], sent["already"]) == (before, 0)
    with pytest.raises(Fenced, match="retry"):
        # It looks as if it had read the notes before the other one wrote any.
        retry(_Blind(connection, mill.name), mill.name, chosen, first)
    (again,) = rejected(mill, "retry", "--reason", "out_of_range")
    assert (again["sent"], again["already"]) == (0, before)

    mill.declare(make_mill.source.replace('"amount", 0, 1000', '"amount", 0, 5000'))
    with mill.worker():
        mill.wait(122 + before)
    copies = [m for m in mill.read("events") if m.headers()]
    assert len({dict(m.headers())["tidemill.retry.event"] for m in copies}) == len(copies) == before
    originals = {f"{mill.name}.events[{m.partition()}]@{m.offset()}": m for m in mill.read("events")}
    for copy in copies:
        original = originals[dict(copy.headers())["tidemill.retry.event"].decode()]
        assert (copy.key(), copy.value(), copy.timestamp()) == (original.key(), original.value(), original.timestamp())
        (answer,) = mill.answers[copy.partition(), copy.offset()]
        assert answer.prediction is not None or answer.rejection["reason"] == "duplicate_id"
    found = mill.audit()
    assert (found["events"], found["waiting"], found["missing"]) == (122 + before, 0, 0)
    assert found["retried"] == before
    assert counted(mill)["out_of_range"]["retried"] == before


class _Blind(KafkaReader):
    """Sees no notes."""

    def __init__(self, connection, name):
        super().__init__(connection)
        self._notes = f"{name}.retries"

    def read(self, topic, partition, start=0, end=None):
        return iter(()) if topic == self._notes else super().read(topic, partition, start, end)


def test_a_header_that_names_the_schema_survives_both_ways(mill):
    (good,) = mill.codec_of_events().encode_rows(
        [{"id": "h", "customer": "c", "at": 0, "amount": 9_000.0, "shop": None}]
    )
    header = ("__value_schema_id", b"\x00\x00\x00\x00\x07")
    producer = Producer({"bootstrap.servers": mill.bootstrap_servers})
    producer.produce(f"{mill.name}.events", good[10:], b"c", 0, headers=[header])
    assert producer.flush(30) == 0
    with mill.worker():
        mill.wait(len(mill.read("events")))
        (sent,) = rejected(mill, "retry", "--reason", "unknown_schema")
        assert sent["sent"] == 1
        mill.wait(len(mill.read("events")))
    copies = [m for m in mill.read("events") if m.headers() and m.value() == good[10:]]
    assert [dict(m.headers())["__value_schema_id"] for m in copies] == [header[1]] * 2
    assert counted(mill)["unknown_schema"]["count"] == 2
