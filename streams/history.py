"""What a topic holds, as one table: the way back from the log to columns."""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.ports import History, LogRecord

_BATCH = 20_000
_TAIL = 64
Progress = Callable[[int], None]


def read_topic(
    topic: str,
    contract: Contract,
    reader: History,
    schemas: SchemaSource,
    *,
    time: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress = lambda n: None,  # noqa: ARG005
) -> pa.Table:
    """All decodable messages of a topic whose field `time` lies in [since, until), by partition in log order."""
    codec = Codec(contract, schemas)
    tables = [contract.arrow.empty_table()]
    for batch in _batches(topic, reader, progress):
        part = codec.decode([r.value for r in batch], [r.headers for r in batch]).table
        tables.append(part if time is None else between(part, time, since, until))
    return pa.concat_tables(tables)


def read_stamped(
    topic: str,
    contract: Contract,
    reader: History,
    schemas: SchemaSource,
    header: str,
    progress: Progress = lambda n: None,  # noqa: ARG005
) -> pa.Table:
    """All decodable messages of a topic, by partition in log order, with what only their records tell.

    Two columns more: `@timestamp`, in microseconds, and `@header`, the text of that header.
    """
    codec = Codec(contract, schemas)
    own = [pa.field("@timestamp", pa.int64()), pa.field("@header", pa.string())]
    tables = [pa.schema([*contract.arrow, *own]).empty_table()]
    for batch in _batches(topic, reader, progress):
        decoded = codec.decode([r.value for r in batch], [r.headers for r in batch])
        good = [batch[row] for row in decoded.rows.tolist()]
        told = [dict(r.headers).get(header) for r in good]
        columns = (
            pa.array([r.timestamp * 1_000 for r in good], pa.int64()),
            pa.array([None if text is None else text.decode("utf-8", errors="replace") for text in told], pa.string()),
        )
        table = decoded.table
        for field, column in zip(own, columns, strict=True):
            table = table.append_column(field, column)
        tables.append(table)
    return pa.concat_tables(tables)


def last_value(topic: str, partition: int, key: bytes, reader: History) -> bytes | None:
    """The value of the last message with this key, sought from the end on; None if there is none.

    For what is written again and again, such as positions on a changelog.
    """
    begin, end = reader.beginning(topic, partition), reader.end(topic, partition)
    size, stop = _TAIL, end
    while stop > begin:
        start = max(begin, end - size)
        found = [record.value for record in reader.read(topic, partition, start, stop) if record.key == key]
        if found:
            return found[-1]
        stop, size = start, size * 8
    return None


def _batches(topic: str, reader: History, progress: Progress) -> Iterator[list[LogRecord]]:
    for partition in reader.partitions(topic):
        records = reader.read(topic, partition)
        while batch := list(islice(records, _BATCH)):
            progress(len(batch))
            yield batch


def between(table: pa.Table, time: str, since: datetime | None, until: datetime | None) -> pa.Table:
    """The rows whose field `time` lies in [since, until)."""
    kind = table.schema.field(time).type
    keep = None
    for bound, compare in ((since, pc.greater_equal), (until, pc.less)):
        if bound is not None:
            side = compare(table[time], pa.scalar(bound, kind))
            keep = side if keep is None else pc.and_(keep, side)
    return table if keep is None else table.filter(keep)
