"""Snapshots may be missing, old, torn or of another log: what is restored is always what the log says."""

import errno
import os
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest

from tidemill.streams import snapshot_file
from tidemill.streams.memory import MemoryLog, MemoryReader
from tidemill.streams.snapshots import SnapshotReader, Snapshots, Snapshotter

TOPIC = "p.changelog"


@pytest.fixture
def memory():
    return MemoryLog({TOPIC: 2, "p.events": 2})


@pytest.fixture
def snapshots(tmp_path):
    return Snapshots(tmp_path)


def put(log, *pairs):
    for key, value in pairs:
        log.append(TOPIC, key, value, partition=1, timestamp=5)


def state_of(records):
    """What is left when all is taken in: the last value of each key."""
    last = {record.key: record.value for record in records}
    return {key: value for key, value in last.items() if value is not None}


def restored(log, snapshots):
    return state_of(SnapshotReader(MemoryReader(log), snapshots, TOPIC).read(TOPIC, 1))


def refresh(log, snapshots):
    reader = MemoryReader(log)
    return snapshots.refresh(reader, TOPIC, 1, snapshots.find(reader, TOPIC, 1))


def test_only_the_tail_is_read_from_the_log(memory, snapshots, monkeypatch):
    put(memory, (b"a/x/0", b"block"), (b"position/a", b"1"), (b"position/a", b"2"))
    refresh(memory, snapshots)
    put(memory, (b"a/x/0", None), (b"a/x/1", b"\0" * 3_000_000), (b"position/a", b"3"))
    starts = []
    reader = MemoryReader(memory)
    read = reader.read
    reader.read = lambda topic, partition, start=0: starts.append(start) or read(topic, partition, start)
    through = SnapshotReader(reader, snapshots, TOPIC)
    assert state_of(through.read(TOPIC, 1)) == state_of(memory.read(TOPIC, 1))
    assert starts == [3]
    assert list(through.read("p.events", 1)) == []
    assert starts == [3, 0]


def test_each_refresh_holds_what_the_log_says_without_what_is_out_of_date(memory, snapshots):
    for i in range(5):
        put(memory, (b"a/x/%d" % i, b"block %d" % i), (b"position/a", b"%d" % i))
        if i:
            put(memory, (b"a/x/%d" % (i - 1), None))
        made = refresh(memory, snapshots)
        assert restored(memory, snapshots) == state_of(memory.read(TOPIC, 1))
        # Two keys alive, and of the last tail what is out of date.
        assert made.records <= 5
    # Compaction behind the snapshot changes nothing.
    memory.compact(TOPIC)
    assert restored(memory, snapshots) == {b"a/x/4": b"block 4", b"position/a": b"4"}


def test_a_file_that_was_cut_or_changed_anywhere_is_ignored(memory, snapshots, caplog):
    put(memory, (b"a/x/0", b"block"), (b"position/a", b"1"))
    refresh(memory, snapshots)
    path = snapshots.path(TOPIC, 1)
    whole = path.read_bytes()
    put(memory, (b"position/a", b"2"))
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert restored(memory, snapshots) == {b"a/x/0": b"block", b"position/a": b"2"}
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        assert snapshots.find(MemoryReader(memory), TOPIC, 1) is None
    assert "read from its beginning" in caplog.text


def test_a_snapshot_of_a_topic_that_was_created_again_is_ignored(memory, snapshots, caplog):
    put(memory, (b"a/x/0", b"block"))
    refresh(memory, snapshots)
    again = MemoryLog({TOPIC: 2})
    put(again, (b"a/x/0", b"other"), (b"a/x/1", b"more"))
    assert restored(again, snapshots) == {b"a/x/0": b"other", b"a/x/1": b"more"}
    assert "was the topic deleted?" in caplog.text


def test_a_snapshot_outside_of_the_log_is_ignored(memory, snapshots, caplog):
    put(memory, (b"a/x/0", b"block"), (b"a/x/1", b"block"))
    made = refresh(memory, snapshots)
    path = snapshots.path(TOPIC, 1)
    snapshot_file.write(path, TOPIC, made.identity, 1, 3, [])
    assert restored(memory, snapshots) == state_of(memory.read(TOPIC, 1))
    assert "it ends at offset 3, but the log has 0 to 2" in caplog.text
    memory.delete_before(TOPIC, 1, 2)
    snapshot_file.write(path, TOPIC, made.identity, 1, 1, [])
    assert restored(memory, snapshots) == {}


@pytest.fixture
def snapshotter(memory, snapshots):
    """One for partition 1, and what it reports."""
    told = []

    def make(**given):
        connect = given.pop("connect", lambda: nullcontext(MemoryReader(memory)))
        return Snapshotter(snapshots, TOPIC, lambda: {1}, connect, told.append, least=2), told

    return make


def test_it_is_written_when_the_log_has_grown_by_half(memory, snapshots, snapshotter):
    made, told = snapshotter()
    for i in range(40):
        put(memory, (b"a/x/%d" % i, b"block"))
        made.round()
    # After 2, 4, 6, 9, 13, 19 and 28 records.
    assert told == [True] * 7
    assert snapshots.find(MemoryReader(memory), TOPIC, 1).records == 28


@pytest.mark.parametrize("fails", ["write", "fsync", "replace", "mkdir"])
def test_a_full_disk_costs_the_snapshot_and_nothing_else(memory, snapshots, snapshotter, monkeypatch, caplog, fails):
    made, told = snapshotter()
    put(memory, (b"a/x/0", b"block"), (b"a/x/1", b"block"))
    if fails != "mkdir":
        made.round()
    put(memory, (b"a/x/0", None), (b"a/x/2", b"more"))

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if fails == "write":
            patch.setattr(snapshot_file, "_write", full)
        elif fails == "fsync":
            patch.setattr(os, "fsync", full)
        else:
            patch.setattr(Path, fails, full)
        made.round()
    assert told[-1] is False
    assert "No space left on device" in caplog.text
    assert restored(memory, snapshots) == state_of(memory.read(TOPIC, 1))
    folder = snapshots.path(TOPIC, 1).parent
    assert [path.name for path in folder.glob("*")] == ([] if fails == "mkdir" else ["1.snapshot"])
    made.round()
    assert told[-1] is True
    assert restored(memory, snapshots) == state_of(memory.read(TOPIC, 1))


def test_a_worker_that_was_killed_while_writing_leaves_the_former_snapshot(memory, snapshots, snapshotter, monkeypatch):
    made, _ = snapshotter()
    put(memory, (b"a/x/0", b"block"), (b"a/x/1", b"block"))
    made.round()
    put(memory, (b"a/x/0", None), (b"a/x/2", b"more"))
    torn = snapshots.path(TOPIC, 1).with_name("1.snapshot.writing")
    torn.write_bytes(snapshots.path(TOPIC, 1).read_bytes()[:30])
    assert restored(memory, snapshots) == state_of(memory.read(TOPIC, 1))
    made.round()
    assert not torn.exists()


def test_a_snapshot_that_rots_while_the_worker_runs_is_made_anew(memory, snapshots, snapshotter):
    made, told = snapshotter()
    put(memory, (b"a/x/0", b"block"), (b"a/x/1", b"block"))
    made.round()
    snapshots.path(TOPIC, 1).write_bytes(b"gone")
    put(memory, (b"a/x/2", b"block"), (b"a/x/3", b"block"))
    made.round()
    made.round()
    assert told == [True, False, True]
    assert restored(memory, snapshots) == state_of(memory.read(TOPIC, 1))


def test_it_stops_when_told():
    stop = threading.Event()
    stop.set()
    Snapshotter(None, TOPIC, None, None, None).run(stop)
