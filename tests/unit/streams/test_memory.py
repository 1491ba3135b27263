"""The log in memory, and a worker's edges over it."""

import numpy as np
import pytest

from tidemill.schemas.errors import StreamError
from tidemill.streams.memory import MemoryLog, MemoryReader, MemorySender, MemoryStream, columns
from tidemill.streams.memory_worker import MemoryCommitter, MemorySource
from tidemill.streams.murmur2 import partition_of
from tidemill.streams.ports import ChangelogEntry, Output, Prepared


class Assignments:
    """Partitions whose state stands nowhere, or where it is told."""

    def __init__(self, **offsets):
        self.offsets, self.told = offsets, []

    def assigned(self, partition):
        self.told.append(("assigned", partition))
        return self.offsets.get(f"p{partition}")

    def revoked(self, partition):
        self.told.append(("revoked", partition))


@pytest.fixture
def log():
    return MemoryLog({"in": 2, "out": 2, "changelog": 2, "one": 1}, lambda: 1_000)


def fill(log, *counts):
    for partition, count in enumerate(counts):
        for number in range(count):
            log.append("in", b"k", f"{partition}.{number}".encode(), partition=partition, timestamp=number)


def test_messages_are_read_as_they_were_appended(log):
    made = log.append("in", b"k", None, headers=[("h", b"1")])
    assert (made.partition, made.offset, made.timestamp) == (partition_of(b"k", 2), 0, 1_000)
    assert list(log.read("in", made.partition)) == [made]
    assert log.append("one", None, b"v", timestamp=-5).timestamp == 0
    assert (log.beginning("one", 0), log.end("one", 0), log.partitions("in")) == (0, 1, [0, 1])


def test_what_was_there_when_reading_began_is_read(log):
    fill(log, 3)
    found = log.read("in", 0, 1)
    log.append("in", b"k", b"later", partition=0)
    assert [record.value for record in found] == [b"0.1", b"0.2"]
    assert [record.offset for record in log.read("in", 0, 1, 3)] == [1, 2]
    assert list(log.read("in", 0, 9)) == []


def test_messages_without_a_key_take_turns(log):
    assert [log.append("in", None, b"").partition for _ in range(4)] == [0, 1, 0, 1]


def test_an_unknown_topic_is_named(log):
    with pytest.raises(StreamError, match="no topic 'changlog'; did you mean 'changelog'"):
        log.append("changlog", None, None)


def test_compaction_keeps_the_last_message_of_each_key(log):
    for key, value in [(b"a", b"1"), (b"b", b"2"), (b"a", b"3"), (b"b", None), (b"c", b"4")]:
        log.append("one", key, value)
    log.compact("one")
    assert [(record.offset, record.value) for record in log.read("one", 0)] == [(2, b"3"), (4, b"4")]
    assert log.end("one", 0) == 5
    assert [record.offset for record in log.read("one", 0, 3)] == [4]
    assert log.append("one", b"d", b"5").offset == 5


def test_retention_forgets_the_beginning(log):
    fill(log, 5)
    log.delete_before("in", 0, 3)
    assert [record.offset for record in log.read("in", 0)] == [3, 4]
    log.delete_before("in", 0, 99)
    assert (log.beginning("in", 0), log.end("in", 0), list(log.read("in", 0))) == (5, 5, [])


def test_a_reader_fetches_what_is_there(log):
    fill(log, 4)
    log.delete_before("in", 0, 1)
    found = MemoryReader(log, "g").fetch("in", 0, [0, 2, 9])
    assert {offset: record.value for offset, record in found.items()} == {2: b"0.2"}
    assert MemoryReader(log, "g").committed("in", 0) is None


def test_a_stream_hands_out_each_message_once(log):
    stream = MemoryStream(log, "one")
    log.append("one", b"a", b"1")
    assert [record.value for record in stream.catch_up()] == [b"1"]
    log.append("one", b"a", b"2")
    assert [record.value for record in stream.poll()] == [b"2"]
    assert stream.poll() == []


def test_a_sender_knows_where_its_first_message_went(log):
    log.append("one", None, b"before")
    sender = MemorySender(log)
    for value in (b"1", b"2"):
        sender.send("one", b"k", value, partition=0)
    sender.flush()
    assert sender.first_offset("one") == 1


def test_a_source_mixes_partitions_in_order(log):
    fill(log, 3, 3)
    source = MemorySource(log, "in", "g", Assignments())
    batches = [source.poll(4, 0) for _ in range(3)]
    assert [batch.values for batch in batches] == [[b"0.0", b"1.0", b"1.1", b"1.2"], [b"0.1", b"0.2"], []]
    assert batches[0].partition.tolist() == [0, 1, 1, 1]
    assert source.lag() == {0: 0, 1: 0}


def test_a_source_reads_only_what_it_is_told(log):
    fill(log, 2, 2)
    source = MemorySource(log, "in", "g", Assignments())
    source.only = frozenset({1})
    assert source.poll(10, 0).partition.tolist() == [1, 1]
    assert source.lag() == {0: 2, 1: 0}


def test_a_source_starts_where_the_state_stands_and_rewinds_to_it(log):
    fill(log, 3, 3)
    assignments = Assignments(p1=2)
    source = MemorySource(log, "in", "g", assignments)
    assert source.poll(10, 0).values == [b"0.0", b"0.1", b"0.2", b"1.2"]
    assignments.told.clear()
    source.rewind()
    assert assignments.told == [("revoked", 0), ("assigned", 0), ("revoked", 1), ("assigned", 1)]
    assert source.poll(10, 0).values == [b"0.0", b"0.1", b"0.2", b"1.2"]


def test_who_leaves_without_a_commit_reads_again(log):
    fill(log, 3)
    source = MemorySource(log, "in", "g", Assignments())
    log.committed["g", "in", 0] = 1
    source.poll(10, 0)
    source.close()
    assert source.poll(10, 0).values == [b"0.1", b"0.2"]


def test_what_retention_deletes_meanwhile_is_passed_over(log):
    fill(log, 3)
    source = MemorySource(log, "in", "g", Assignments())
    log.delete_before("in", 0, 3)
    assert source.poll(10, 0).values == []
    assert source.lag()[0] == 0


def test_a_commit_writes_outputs_changelog_and_offsets(log):
    plain = Output("out", np.array([0, 1], dtype=np.int32), np.array([5, -1]), [b"a", None], [b"1", None])
    headed = Output("out", np.array([1], dtype=np.int32), np.array([7]), [b"b"], [b"2"], [[("h", b"x")]])
    MemoryCommitter(log, "in", "g", "changelog").commit(
        Prepared([plain, headed], [ChangelogEntry(1, b"position", b"{}")], {0: 4, 1: 9})
    )
    written = [(r.partition, r.timestamp, r.key, r.value, r.headers) for p in (0, 1) for r in log.read("out", p)]
    assert written == [(0, 5, b"a", b"1", []), (1, 0, None, None, []), (1, 7, b"b", b"2", [("h", b"x")])]
    assert [record.key for record in log.read("changelog", 1)] == [b"position"]
    assert [MemoryReader(log, "g").committed("in", p) for p in (0, 1)] == [4, 9]
    assert MemoryReader(log, "other").committed("in", 0) is None


def test_records_in_columns(log):
    log.append("one", b"k", b"v", headers=[("h", b"1")])
    log.append("one", None, None, timestamp=3)
    made = columns(list(log.read("one", 0)))
    assert (made.partition.dtype, made.offset.tolist(), made.timestamp.tolist()) == (np.int32, [0, 1], [1_000, 3])
    assert (made.keys, made.values, made.headers) == ([b"k", None], [b"v", None], [[("h", b"1")], None])
