"""One Delta Lake table that holds the messages of one topic, each once.

A commit adds rows and, for each partition that they come from, moves an application transaction: its id is
`<topic>/<partition>` and its version the next offset to read. Delta commits both or neither, and refuses a commit that
moves a transaction which somebody else has moved meanwhile. So whoever is killed, and however many write at once, an
offset is in the table once, and the table itself knows where to go on.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from tidemill.schemas.errors import StreamError
from tidemill.streams.archive_columns import OFFSET, PARTITION, TIMESTAMP, require_fit

if TYPE_CHECKING:
    from deltalake import DeltaTable

TOPIC, TOPIC_ID = "tidemill.topic", "tidemill.topic-id"
"""Properties of a table: which topic it holds, and the id that no later topic of the same name has."""
Range = tuple[int, int]
"""Offsets from the first to before the second."""


class Overtaken(StreamError):
    """Somebody else has written to the table meanwhile: look again where it stands."""


@dataclass(frozen=True)
class Standing:
    """A table as it is now: its version, for each partition the next offset that it lacks, its topic's id if known."""

    version: int
    positions: dict[int, int]
    topic_id: str


class ArchiveTable:
    """A topic's table below `uri`, a path or a URL that Delta Lake can write to (`s3://…`, with its usual settings)."""

    def __init__(self, uri: str) -> None:
        self.uri = uri

    def exists(self) -> bool:
        """Whether there is such a table."""
        return bool(_deltalake().DeltaTable.is_deltatable(self.uri))

    def create(self, topic: str, topic_id: str, schema: pa.Schema, versions: timedelta) -> None:
        """Make it, unless it is there; what a version needs is kept for `versions` after another replaced it."""
        # Expired parts of the log are cleaned up by `clean`, which knows what data sets name.
        configuration = {TOPIC: topic, TOPIC_ID: topic_id, **_kept(versions), "delta.enableExpiredLogCleanup": "false"}
        # Another process may be making it at this moment.
        with contextlib.suppress(_deltalake().exceptions.CommitFailedError):
            _deltalake().DeltaTable.create(
                self.uri, schema, mode="ignore", configuration=configuration, raise_if_key_not_exists=False
            )

    def open(self, version: int | None = None) -> "DeltaTable":
        """The table as it is, or was at a version.

        Raises:
            StreamError: there is no such table, or the version is gone.

        """
        try:
            table: DeltaTable = _deltalake().DeltaTable(self.uri, version=version)
        except (_deltalake().exceptions.DeltaError, OSError) as error:
            if not self.exists():
                raise StreamError(f"{self.uri}: there is no such table; `tidemill archive` writes it") from None
            which = "the table" if version is None else f"version {version}"
            raise StreamError(f"{self.uri}: {which} cannot be read (any more): {error}") from None
        return table

    def standing(self, topic: str, partitions: Sequence[int]) -> Standing:
        """How the table stands now."""
        table = self.open()
        positions = {partition: table.transaction_version(_app(topic, partition)) or 0 for partition in partitions}
        topic_id = str(table.metadata().configuration.get(TOPIC_ID, ""))
        return Standing(int(table.version()), positions, topic_id)

    def append(self, topic: str, rows: pa.Table, former: Mapping[int, int], after: Mapping[int, int]) -> int:
        """Add rows and move the partitions in `after` on to the offsets given there; returns the table's version.

        Raises:
            Overtaken: a partition does not stand where `former` says, or others wrote at the same time.
            StreamError: a column has another type by now.

        """
        library = _deltalake()
        table = self.open()
        require_fit(self.uri, pa.schema(table.schema().to_arrow()), rows.schema)
        if any((table.transaction_version(_app(topic, p)) or 0) != former[p] for p in after):
            raise Overtaken(f"{self.uri}: another archiver has moved on")
        moved = [library.Transaction(_app(topic, partition), offset) for partition, offset in after.items()]
        try:
            library.write_deltalake(
                table,
                rows,
                mode="append",
                schema_mode="merge",
                writer_properties=library.WriterProperties(compression="ZSTD"),
                commit_properties=library.CommitProperties(app_transactions=moved),
            )
        except library.exceptions.CommitFailedError as error:
            raise Overtaken(f"{self.uri}: {error}") from None
        except library.exceptions.DeltaError as error:
            raise StreamError(f"{self.uri}: {error}") from None
        return int(table.version())

    def read(
        self,
        *,
        version: int | None = None,
        offsets: Mapping[int, Range] | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The rows of a version, of these offsets if they are given, in no particular order.

        Raises:
            StreamError: there is no such table, or the version or a file of it is gone.

        """
        data = self.open(version).to_pyarrow_dataset()
        wanted = None if columns is None else [name for name in columns if name in data.schema.names]
        try:
            return data.to_table(columns=wanted, filter=None if offsets is None else _within(offsets))
        except FileNotFoundError as error:
            raise StreamError(f"{self.uri}: a file of version {version} is gone: {error}") from None

    def ranges(self, version: int) -> dict[int, Range]:
        """For each partition, the offsets from the first to after the last row of a version."""
        places = self.read(version=version, columns=[PARTITION, OFFSET])
        found = places.group_by(PARTITION).aggregate([(OFFSET, "min"), (OFFSET, "max")]).sort_by(PARTITION)
        rows = zip(*(found[name].to_pylist() for name in (PARTITION, f"{OFFSET}_min", f"{OFFSET}_max")), strict=True)
        return {partition: (first, last + 1) for partition, first, last in rows}

    def files(self) -> int:
        """How many files the present version has."""
        return len(self.open().file_uris())

    def compact(self) -> int:
        """Join small files; returns how many went into larger ones, 0 if somebody else is at it."""
        try:
            return int(self.open().optimize.compact()["numFilesRemoved"])
        except _deltalake().exceptions.CommitFailedError:
            return 0

    def forget(self, before: datetime) -> int:
        """Delete the rows of records older than this; returns how many, 0 if others were writing to them."""
        try:
            done = self.open().delete(f"{TIMESTAMP} < '{before.isoformat()}'")
        except _deltalake().exceptions.CommitFailedError:
            return 0
        return int(done["num_deleted_rows"] or 0)

    def clean(self, named: Sequence[int], *, age: timedelta) -> int:
        """Remove files that only versions need which were replaced longer than `age` ago; returns how many.

        What the versions `named` need stays, and with them the log of all versions.
        """
        table = self.open()
        readable = [version for version in sorted(set(named)) if self._readable(version)]
        options: dict[str, Any] = {
            "retention_hours": int(age.total_seconds()) // 3600,
            "enforce_retention_duration": False,
            "full": True,
            "keep_versions": readable or None,
        }
        try:
            # Even a vacuum that finds nothing would be a version.
            removed = len(table.vacuum(**options)) and len(table.vacuum(**options, dry_run=False))
            if not readable and table.version() > 0:
                if not _kept(age).items() <= table.metadata().configuration.items():
                    table.alter.set_table_properties(_kept(age))
                table.create_checkpoint()
                table.cleanup_metadata()
        except _deltalake().exceptions.CommitFailedError:
            return 0
        return int(removed)

    def _readable(self, version: int) -> bool:
        try:
            self.open(version)
        except StreamError:
            return False
        return True


def _kept(versions: timedelta) -> dict[str, str]:
    """The properties by which Delta itself, and other programs, know how long versions are kept."""
    age = f"interval {int(versions.total_seconds())} seconds"
    return {"delta.deletedFileRetentionDuration": age, "delta.logRetentionDuration": age}


def _app(topic: str, partition: int) -> str:
    return f"{topic}/{partition}"


def _within(offsets: Mapping[int, Range]) -> ds.Expression:
    chosen = ds.scalar(False)
    for partition, (first, end) in offsets.items():
        chosen |= (ds.field(PARTITION) == partition) & (ds.field(OFFSET) >= first) & (ds.field(OFFSET) < end)
    return chosen


def _deltalake() -> Any:
    """The library, which a worker does without."""
    try:
        import deltalake
        import deltalake.exceptions
    except ImportError:
        raise StreamError("the archive needs deltalake: pip install 'tidemill[training]'") from None
    return deltalake
