"""Where on P.features the features of each event of a partition stand, and a digest of their bytes."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tidemill.schemas import framing
from tidemill.schemas.codec import Codec
from tidemill.schemas.errors import StreamError
from tidemill.schemas.framing import FrameKind, SingleObject
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.plan import Plan
from tidemill.streams.ports import History, LogRecord

BATCH = 10_000
Progress = Callable[[int], None]
_IDENTITY = ("source_partition", "source_offset", "pipeline_version")


class FeatureIndex:
    """What the features topic holds for the events of one partition with offsets in [0, stop).

    Costs 16 bytes of memory per event, and 8 for each topic table.

    Raises:
        StreamError: features were made by another version of the pipeline.

    """

    def __init__(
        self,
        plan: Plan,
        partition: int,
        stop: int,
        history: History,
        schemas: SchemaSource,
        progress: Progress = lambda n: None,  # noqa: ARG005
    ) -> None:
        self._plan, self._partition = plan, partition
        self.topic = plan.topic("features")
        self.digest: NDArray[np.int64] = np.zeros(stop, dtype=np.int64)
        self.place: NDArray[np.int64] = np.full(stop, -1, dtype=np.int64)
        """By event offset: the features' own offset, -1 where there are none."""
        self.tables: dict[str, NDArray[np.int64]] = {
            table.table.name: np.full(stop, -1, dtype=np.int64) for table in plan.topic_tables
        }
        """By topic table and event offset: the version of the table that the event was joined with."""
        self.conflicting: dict[int, int] = {}
        """By event offset: where a second copy stands that differs from the first."""
        self.foreign = 0
        """Messages that are not features of this partition's events."""
        self._tail = SingleObject(plan.contracts["features"].fingerprint).prefix
        self._codec = _reading(plan, [], schemas)
        self._with_tables = _reading(plan, [f"{name}_version" for name in self.tables], schemas)
        for records in batches(history.read(self.topic, partition)):
            self._take(records)
            progress(len(records))
        # Retention cuts both topics by time, but not at the same event.
        kept = self.place[self.place >= 0]
        cut = history.beginning(self.topic, partition) > 0
        self.kept_from = int(np.flatnonzero(self.place >= 0)[0]) if cut and len(kept) else stop if cut else 0
        """Features of events before this offset may have been deleted by retention."""

    def _take(self, records: Sequence[LogRecord]) -> None:
        decoded = self._codec.decode([r.value for r in records], [r.headers for r in records])
        self.foreign += len(decoded.bad)
        offsets = decoded.table["source_offset"].to_numpy()
        ours = decoded.table["source_partition"].to_numpy() == self._partition
        self.foreign += int((~ours).sum())
        rows = np.flatnonzero(ours & (offsets >= 0) & (offsets < len(self.place)))
        self._require_version(decoded.table["pipeline_version"].take(rows), offsets[rows])
        for row in rows.tolist():
            self._note(int(offsets[row]), records[decoded.rows[row]])
        if self.tables:
            chosen = [records[row] for row in decoded.rows[rows]]
            table = self._with_tables.decode([r.value for r in chosen], [r.headers for r in chosen]).table
            for name, versions in self.tables.items():
                versions[offsets[rows]] = table[f"{name}_version"].to_numpy()

    def _require_version(self, versions: pa.ChunkedArray, offsets: NDArray[np.int64]) -> None:
        for version in versions.unique().to_pylist():
            if version != self._plan.version:
                where = int(offsets[versions.to_pylist().index(version)])
                raise StreamError(
                    f"{self.topic}[{self._partition}]: the features of event offset {where} were made by version"
                    f" {version} of the pipeline, and this one is version {self._plan.version}; only the version that"
                    " made them can be expected to make them again: replay with the declaration, tables and Tidemill"
                    " of that version"
                )

    def _note(self, offset: int, record: LogRecord) -> None:
        digest = self.digest_of(record.timestamp, record.key, record.value)
        if self.place[offset] < 0:
            self.place[offset], self.digest[offset] = record.offset, digest
        elif digest != self.digest[offset]:
            self.conflicting.setdefault(offset, record.offset)

    def digest_of(self, timestamp: int, key: bytes | None, value: bytes | None) -> int:
        """64 bits of everything that a features message is made of."""
        made = hashlib.blake2b(digest_size=8)
        made.update(b"%d %d " % (timestamp, -1 if key is None else len(key)))
        made.update(key or b"")
        made.update(self.plain(value))
        return int.from_bytes(made.digest(), "little", signed=True)

    def plain(self, value: bytes | None) -> bytes:
        """The value in Avro's own framing: a registry's id before the same datum is no difference."""
        frame = framing.parse(value or b"")
        if value is None or frame is None or frame.kind is FrameKind.FINGERPRINT:
            return value or b""
        return self._tail + value[frame.start :]


def batches(records: Iterator[LogRecord]) -> Iterator[list[LogRecord]]:
    """Cut into lists of at most BATCH."""
    while batch := list(islice(records, BATCH)):
        yield batch


def _reading(plan: Plan, more: Sequence[str], schemas: SchemaSource) -> Codec:
    """Reads of the features only where they come from, the version that made them, and `more`."""
    contract = plan.contracts["features"]
    fields = [field for field in contract.schema["fields"] if field["name"] in (*_IDENTITY, *more)]
    return Codec(type(contract).parse({**contract.schema, "fields": fields}), schemas)
