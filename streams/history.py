"""What a topic holds, as one table: the way back from the log to columns."""

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import islice

import pyarrow as pa
import pyarrow.compute as pc

from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.kafka.reader import KafkaReader

_BATCH = 20_000
Progress = Callable[[int], None]


def read_topic(
    topic: str,
    contract: Contract,
    reader: KafkaReader,
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
    for partition in reader.partitions(topic):
        for part in _tables(topic, partition, codec, reader, progress):
            tables.append(part if time is None else between(part, time, since, until))
    return pa.concat_tables(tables)


def _tables(topic: str, partition: int, codec: Codec, reader: KafkaReader, progress: Progress) -> Iterator[pa.Table]:
    records = reader.read(topic, partition)
    while batch := list(islice(records, _BATCH)):
        progress(len(batch))
        yield codec.decode([r.value for r in batch], [r.headers for r in batch]).table


def between(table: pa.Table, time: str, since: datetime | None, until: datetime | None) -> pa.Table:
    """The rows whose field `time` lies in [since, until)."""
    kind = table.schema.field(time).type
    keep = None
    for bound, compare in ((since, pc.greater_equal), (until, pc.less)):
        if bound is not None:
            side = compare(table[time], pa.scalar(bound, kind))
            keep = side if keep is None else pc.and_(keep, side)
    return table if keep is None else table.filter(keep)
