"""The archive: a pipeline's features, predictions and outcomes in Delta Lake tables, each message once."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice

import pyarrow as pa

from tidemill.processors.duration import duration
from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import StreamError
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.archive_columns import stored, stored_schema
from tidemill.streams.archive_table import ArchiveTable, Overtaken
from tidemill.streams.plan import Plan
from tidemill.streams.ports import History, LogRecord
from tidemill.streams.schema_topic import SchemaTopic

log = logging.getLogger("tidemill.archive")

ARCHIVED = ("features", "predictions", "outcomes")
"""The topics that have a table, by suffix, as far as the pipeline publishes them."""
BATCH = 100_000
"""How many messages go into one commit at most."""
_DECODED = 20_000
_ATTEMPTS = 20
_SHOWN = 3
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Ages:
    """How long things are kept: durations such as "90d".

    `rows`, by their records' timestamps, for good if None; `versions`, from when they were replaced: so long at least a
    data set can be rebuilt from the version that it names.
    """

    rows: str | timedelta | None = None
    versions: str | timedelta = "30d"

    @property
    def kept_rows(self) -> timedelta | None:
        """`rows` as a span of time."""
        return None if self.rows is None else timedelta(microseconds=duration(self.rows))

    @property
    def kept_versions(self) -> timedelta:
        """`versions` as a span of time."""
        return timedelta(microseconds=duration(self.versions))


@dataclass
class Archived:
    """What one run did with one topic."""

    topic: str
    rows: int = 0
    """Rows added."""
    unreadable: int = 0
    """Messages that are not of the topic's contract; they are passed over, and logged."""
    missed: int = 0
    """Offsets that the topic's retention deleted before they were archived."""
    version: int = 0
    """The table's version afterwards."""
    positions: dict[int, int] = field(default_factory=dict)
    """For each partition, the next offset."""


class Archive:
    """Tables below `root`, a folder or a URL: `<root>/features`, `<root>/predictions`, `<root>/outcomes`."""

    def __init__(self, root: str, ages: Ages | None = None, batch: int = BATCH) -> None:
        self.root, self.ages, self._batch = str(root).rstrip("/"), ages or Ages(), batch

    def table(self, suffix: str) -> ArchiveTable:
        """One topic's table."""
        return ArchiveTable(f"{self.root}/{suffix}")

    def catch_up(
        self,
        plan: Plan,
        reader: History,
        schemas: SchemaSource,
        progress: Progress = lambda n: None,  # noqa: ARG005
        stop: Callable[[], bool] = lambda: False,
    ) -> dict[str, Archived]:
        """Archive all that the topics have now, from where the tables stand; returns by suffix what was done.

        Any number of processes may do so at the same time, and each of them may be killed at any moment. `progress` is
        told the number of messages read; once `stop` says so, it ends after the commit under way.

        Raises:
            StreamError: a topic is not the one that was archived, or a table cannot be written.

        """
        suffixes = [suffix for suffix in ARCHIVED if suffix in plan.contracts and _published(plan, suffix)]
        # Outcomes first, while events go on: then the features of each outcome are there.
        done = {s: self._catch_up(plan, s, reader, schemas, progress, stop) for s in reversed(suffixes)}
        return {suffix: done[suffix] for suffix in suffixes}

    def _catch_up(
        self,
        plan: Plan,
        suffix: str,
        reader: History,
        schemas: SchemaSource,
        progress: Progress,
        stop: Callable[[], bool],
    ) -> Archived:
        table, done = self.table(suffix), Archived(plan.topic(suffix))
        identity = getattr(reader, "identity", None)
        topic_id = "" if identity is None else str(identity(done.topic))
        messages = _Messages(done.topic, plan.contracts[suffix], schemas, done)
        if not table.exists():
            kept = self.ages.kept_versions
            table.create(done.topic, topic_id, stored_schema(messages.contract.arrow), kept)
        ends = {partition: reader.end(done.topic, partition) for partition in reader.partitions(done.topic)}
        stands = table.standing(done.topic, list(ends))
        _require_same(table, done.topic, topic_id, stands.topic_id)
        done.missed = _missed(reader, done.topic, stands.positions, ends)
        attempts = 0
        while True:
            positions, done.version = stands.positions, stands.version
            try:
                for rows, after in _batches(reader, messages, positions, ends, self._batch, progress):
                    done.version = table.append(done.topic, rows, positions, after)
                    done.rows += rows.num_rows
                    positions, attempts = positions | after, 0
                    if stop():
                        break
            except Overtaken as fault:
                attempts += 1
                if attempts >= _ATTEMPTS:
                    raise StreamError(f"{attempts} commits in turn were refused: {fault}") from None
                log.info("%s", fault)
                stands = table.standing(done.topic, list(ends))
                continue
            done.positions = positions
            return done


class _Messages:
    """Decodes the messages of one topic by the contract that was published last, so that no column is left out."""

    def __init__(self, topic: str, contract: Contract, schemas: SchemaSource, done: Archived) -> None:
        self.topic, self._schemas, self._done = topic, schemas, done
        self.contract = self._latest() or contract
        self._codec = Codec(self.contract, schemas)

    def rows(self, records: Sequence[LogRecord]) -> pa.Table:
        """The readable ones, as they are stored."""
        while True:
            decoded = self._codec.decode([r.value for r in records], [r.headers for r in records])
            latest = self._latest()
            if latest is None or latest.text == self.contract.text:
                break
            # What was unknown a moment ago has been published by a newer version of the pipeline.
            self.contract, self._codec = latest, Codec(latest, self._schemas)
        for bad in decoded.bad:
            self._done.unreadable += 1
            if self._done.unreadable <= _SHOWN:
                record = records[bad.row]
                log.warning("%s[%d]@%d: %s", self.topic, record.partition, record.offset, bad.message)
        return stored(decoded.table, [records[row] for row in decoded.rows.tolist()])

    def _latest(self) -> Contract | None:
        return self._schemas.latest(self.topic) if isinstance(self._schemas, SchemaTopic) else None


def _batches(
    reader: History,
    messages: _Messages,
    positions: Mapping[int, int],
    ends: Mapping[int, int],
    most: int,
    progress: Progress,
) -> Iterator[tuple[pa.Table, dict[int, int]]]:
    """Rows of up to so many messages, and where their partitions stand after them."""
    parts: list[pa.Table] = []
    after: dict[int, int] = {}
    count = 0
    for partition, end in ends.items():
        start = positions[partition]
        records = reader.read(messages.topic, partition, start, end) if start < end else iter(())
        while taken := list(islice(records, min(_DECODED, most - count))):
            progress(len(taken))
            parts.append(messages.rows(taken))
            after[partition] = taken[-1].offset + 1
            count += len(taken)
            if count >= most:
                yield pa.concat_tables(parts, promote_options="default"), after
                parts, after, count = [], {}, 0
    if after:
        yield pa.concat_tables(parts, promote_options="default"), after


def _missed(reader: History, topic: str, positions: Mapping[int, int], ends: Mapping[int, int]) -> int:
    """How many offsets retention has deleted since the last run."""
    missed = 0
    for partition, start in positions.items():
        if start > ends[partition]:
            raise StreamError(
                f"{topic}[{partition}] ends at {ends[partition]}, but is archived up to {start}: has it lost messages,"
                " or been made anew? Archive into another folder"
            )
        first = reader.beginning(topic, partition) if start else 0
        if first > start:
            missed += first - start
            log.warning("%s[%d]: retention deleted %d offsets before they were archived", topic, partition, missed)
    return missed


def _published(plan: Plan, suffix: str) -> bool:
    return suffix in plan.publish or suffix == "outcomes"


def _require_same(table: ArchiveTable, topic: str, topic_id: str, archived: str) -> None:
    if archived and topic_id and archived != topic_id:
        raise StreamError(
            f"{table.uri} holds another topic {topic}, with the id {archived}; now that id is {topic_id}: the topic was"
            " made anew, or is on another cluster. Archive into another folder"
        )


def add_up(former: Mapping[str, Archived], done: Mapping[str, Archived]) -> dict[str, Archived]:
    """What several runs did, by suffix."""
    made = dict(former)
    for suffix, each in done.items():
        before = former.get(suffix, Archived(each.topic))
        counts = {name: getattr(before, name) + getattr(each, name) for name in ("rows", "unreadable", "missed")}
        made[suffix] = replace(each, **counts)
    return made
