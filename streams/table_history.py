"""A topic table as it was: at any version that features carry."""

from bisect import bisect_left
from collections.abc import Sequence

from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.plan import TopicTable
from tidemill.streams.ports import LogRecord
from tidemill.streams.tables import TableFollower


class TableHistory:
    """Moves a pipeline's reference table to the state that its topic had before the offset `version`.

    A compacted topic forgets rows that were overwritten: `forgotten` says how many of its messages are gone, and so
    whether an earlier state may lack rows.
    """

    def __init__(self, declared: TopicTable, records: Sequence[LogRecord], schemas: SchemaSource) -> None:
        self._declared, self._schemas = declared, schemas
        self._records, self._offsets = records, [record.offset for record in records]
        self.newest = self._offsets[-1] + 1 if records else 0
        self.forgotten = self.newest - len(records)
        self._rewind()

    def _rewind(self) -> None:
        self._declared.table.delete([record.key for record in self._records])
        self._stream = _Stretch(self._records)
        self._follower = TableFollower(self._declared, self._stream, self._schemas)
        self.version = 0

    def move_to(self, version: int) -> None:
        """Apply what is before the offset `version`; going back starts again from the first message."""
        if version < self.version:
            self._rewind()
        self._stream.stop = bisect_left(self._offsets, version)
        self._follower.poll()
        # The message just before may have been compacted away; the version is what the features say all the same.
        self.version = self._declared.table.version = version


class _Stretch:
    """A `RecordStream` that ends where it is told."""

    def __init__(self, records: Sequence[LogRecord]) -> None:
        self._records = records
        self._next = self.stop = 0

    def poll(self) -> list[LogRecord]:
        start, self._next = self._next, max(self._next, self.stop)
        return list(self._records[start : self._next])

    def catch_up(self) -> list[LogRecord]:
        return self.poll()
