"""Reference tables that live in a compacted topic: followed by every worker, up to date before each batch."""

import logging

import numpy as np

from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.plan import TopicTable
from tidemill.streams.ports import LogRecord, RecordStream

log = logging.getLogger(__name__)


class TableFollower:
    """Applies a topic's records to its reference table; the table's version is the topic's next offset."""

    def __init__(self, declared: TopicTable, stream: RecordStream, schemas: SchemaSource) -> None:
        self._declared, self._stream = declared, stream
        self._codec = Codec(declared.contract, schemas)

    def start(self) -> None:
        """Load the whole table."""
        self._apply(self._stream.catch_up())

    def poll(self) -> None:
        """Take in what has changed."""
        self._apply(self._stream.poll())

    def _apply(self, records: list[LogRecord]) -> None:
        if not records:
            return
        decoded = self._codec.decode([r.value for r in records], [r.headers for r in records])
        table = self._declared.table
        # A row, its deletion and the row again must not change their order: rows go in together, up to a deletion.
        start = 0
        for number, record in enumerate([*records, None]):
            if record is None or record.value is None:
                first, last = np.searchsorted(decoded.rows, [start, number])
                keys = [records[row].key for row in decoded.rows[first:last]]
                if keys:
                    table.upsert(keys, decoded.table.slice(first, last - first))
                if record is not None:
                    table.delete([record.key])
                start = number + 1
        for bad in decoded.bad:
            record = records[bad.row]
            if record.value is not None:
                log.error(
                    "%s[%d]@%d is not a row: %s", self._declared.topic, record.partition, record.offset, bad.message
                )
        table.version = records[-1].offset + 1
