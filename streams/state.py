"""The state of one partition: where its stages stand, and their stores, kept in step with the changelog."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tidemill.processors.stage import Keeper
from tidemill.schemas.errors import StreamError
from tidemill.streams.changelog import BlockLog
from tidemill.streams.ports import ChangelogEntry, LogReader, LogRecord
from tidemill.streams.state_watch import StateSize


class PartitionState:
    """What a worker holds for a partition while it is assigned.

    Every commit writes, next to the changed rows, how far each stage has come (`position/<stage>`): the event
    offset, the input offset and the stage's clock. State and position are of one transaction, so after a restore
    they fit each other exactly.
    """

    def __init__(self, topic: str, partition: int, stages: Sequence[Keeper], input_topic: str) -> None:
        self._topic, self._partition, self._stages, self._input = topic, partition, stages, input_topic
        self.source_offset = 0
        self.committed = 0
        self._logs = {
            f"{stage.name}/{name}": BlockLog(store)
            for stage in stages
            for name, store in stage.stores(partition).items()
        }
        self._stale: list[bytes] = []

    @property
    def size(self) -> StateSize:
        """How much it holds now."""
        return StateSize(sum(log.keys for log in self._logs.values()), sum(log.nbytes for log in self._logs.values()))

    def restore(self, reader: LogReader) -> int | None:
        """Read the changelog to its end; returns the input offset to go on from, None if nothing was ever committed.

        Raises:
            StreamError: the stages of this worker stand at different events, or the changelog and the group's offset
            disagree.

        """
        # Asking for the group's offset first waits until the former owner's transaction is decided.
        committed = reader.committed(self._input, self._partition)
        positions: dict[str, Any] = {}
        stale: dict[bytes, None] = {}
        for record in reader.read(self._topic, self._partition):
            self._take(record, positions, stale)
        self._stale = list(stale)
        if not positions:
            if committed:
                raise StreamError(self._lost(committed, "has no position"))
            return committed
        self._require_together(positions, reader)
        for stage in self._stages:
            stage.restore_clock(self._partition, positions[stage.name]["clock"])
        first = positions[self._stages[0].name]
        self.source_offset = first["source_offset"]
        if first["input"] != self._input:
            return committed
        if committed is not None and committed > first["input_offset"]:
            raise StreamError(self._lost(committed, f"stands at {first['input_offset']}"))
        return int(first["input_offset"])

    def _require_together(self, positions: dict[str, Any], reader: LogReader) -> None:
        """Raise unless the stages have all decided about the same events.

        Where they ran apart, a later one has not met what those before it rejected: it stands behind, but has read its
        input to the end.
        """
        found = {name: p["source_offset"] for name, p in positions.items()}
        ahead = found.get(self._stages[0].name, -1)
        together = len(found) == len(self._stages) and all(
            found[name] == ahead
            or (found[name] < ahead and not any(reader.read(p["input"], self._partition, p["input_offset"])))
            for name, p in positions.items()
        )
        if not together:
            raise StreamError(
                f"partition {self._partition}: the stages stand at different events ({found}); run each stage in its"
                " own worker (--stages each) until they have caught up, then fuse them"
            )

    def _lost(self, committed: int, but: str) -> str:
        return (
            f"{self._input}[{self._partition}]: the group's committed offset is {committed}, but the state on"
            f" {self._topic} {but}; going on would lose what lies between: was the changelog topic deleted, or the"
            " group's offset moved by hand?"
        )

    def _take(self, record: LogRecord, positions: dict[str, Any], stale: dict[bytes, None]) -> None:
        assert record.key is not None
        kind, _, rest = record.key.decode().partition("/")
        if kind == "position":
            if record.value is not None and any(stage.name == rest for stage in self._stages):
                positions[rest] = json.loads(record.value)
            return
        store, _, number = rest.rpartition("/")
        if not any(stage.name == kind for stage in self._stages):
            return
        log = self._logs.get(f"{kind}/{store}")
        if log is not None:
            log.restore(int(number), record.value)
        elif record.value is not None:
            # A store that the pipeline no longer declares: its blocks are deleted with the next commit.
            stale[record.key] = None
        else:
            stale.pop(record.key, None)

    def advance(self, source_offset: int | None, input_offset: int) -> Iterator[ChangelogEntry]:
        """The changelog messages of this commit. `source_offset` None means that no event was new."""
        if source_offset is not None:
            self.source_offset = max(self.source_offset, source_offset)
        for key in self._stale:
            yield ChangelogEntry(self._partition, key, None)
        self._stale = []
        for name, log in self._logs.items():
            for number, block in log.advance():
                yield ChangelogEntry(self._partition, f"{name}/{number:012d}".encode(), block)
        for stage in self._stages:
            position = {
                "source_offset": self.source_offset,
                "input": self._input,
                "input_offset": input_offset,
                "clock": stage.clock(self._partition),
            }
            yield ChangelogEntry(self._partition, f"position/{stage.name}".encode(), json.dumps(position).encode())
