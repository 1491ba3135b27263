"""The archive against arbitrary cuts, kills and rivals: each offset once, and every version is whole."""

import contextlib
import tempfile

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.archive import Archive
from tidemill.streams.archive_table import ArchiveTable
from tidemill.streams.memory import MemoryLog, MemoryReader
from tidemill.streams.plan import Plan

TIDE = Contract.parse({"type": "record", "name": "Tide", "fields": [{"name": "height", "type": "long"}]})
CODEC = Codec(TIDE, KnownSchemas())
TOPIC = "sea.predictions"


class Killed(BaseException):
    """The process is gone: nothing of ours runs any more."""


class Fragile:
    """An archiver that is killed at its n-th commit, before or after it; a rival may commit in between."""

    def __init__(self, monkeypatch, fate, rival):
        self.left, self.after = fate
        self.rival = rival
        append = ArchiveTable.append

        def doomed(table, *args):
            self.left -= 1
            if self.left == 0 and not self.after:
                raise Killed
            if self.rival is not None:
                rival, self.rival = self.rival, None
                with monkeypatch.context() as patch:
                    patch.setattr(ArchiveTable, "append", append)
                    rival()
            made = append(table, *args)
            if self.left == 0:
                raise Killed
            return made

        monkeypatch.setattr(ArchiveTable, "append", doomed)


steps = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["good", "bad", "gap"])), max_size=12),
        st.integers(1, 9),  # messages per commit
        st.tuples(st.integers(1, 4), st.booleans()),  # killed at which commit, before or after it
        st.none() | st.integers(1, 9),  # a rival with so many messages per commit
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=25)
@given(steps)
def test_each_offset_is_archived_once(drawn):
    log = MemoryLog({TOPIC: 2})
    plan = Plan("sea", "v", {"predictions": TIDE}, "id", "id", "at", None, list, publish=("predictions",))
    wanted, number = [], 0
    with tempfile.TemporaryDirectory() as folder:
        for sent, size, fate, rival in drawn:
            for partition, kind in sent:
                number += 1
                value = CODEC.encode_rows([{"height": number}])[0] if kind == "good" else b"?"
                record = log.append(TOPIC, None, value, partition=partition)
                if kind == "good":
                    wanted.append((record.partition, record.offset, number))
                elif kind == "gap":
                    # What a transaction's marker looks like to a reader.
                    log._topics[TOPIC][partition].records.pop()

            def run(most):
                Archive(folder, batch=most).catch_up(plan, MemoryReader(log), KnownSchemas())

            with pytest.MonkeyPatch.context() as monkeypatch:
                Fragile(monkeypatch, fate, None if rival is None else lambda most=rival: run(most))
                with contextlib.suppress(Killed):
                    run(size)
        table = Archive(folder).table("predictions")
        if table.exists():
            for version in range(1, table.open().version() + 1):
                seen = rows_of(table.read(version=version))
                for partition in (0, 1):
                    part = [row for row in wanted if row[0] == partition]
                    there = [row for row in seen if row[0] == partition]
                    assert there == part[: len(there)]
        run(5)
        assert rows_of(table.read()) == sorted(wanted)


def rows_of(table: pa.Table):
    return sorted(zip(*(table[name].to_pylist() for name in ("_partition", "_offset", "height")), strict=True))
