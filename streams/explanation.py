"""Everything that the topics know of one event: what became of it, by which model, and what that one was made of.

Messages are found by the bytes of the event's id, and only those that hold them are decoded: a topic is looked through
as fast as it can be read.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tidemill.schemas import builtin, framing
from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import StreamError
from tidemill.schemas.framing import FrameKind
from tidemill.schemas.resolver import KnownSchemas, SchemaSource
from tidemill.streams.learner import LEARNER
from tidemill.streams.models import announcements
from tidemill.streams.murmur2 import partition_of
from tidemill.streams.ports import History, LogRecord, RecordStream
from tidemill.streams.rejections import StoredRejection

Progress = Callable[[int], None]
Row = dict[str, Any]
HIDDEN = "(private)"
"""What is shown instead of a private field's value."""
RECORDS = ("retrain-triggers", "training-jobs")
"""Topics, by suffix, whose records name a trigger or a job that a model came from."""


@dataclass
class Explanation:
    """What the topics know of an event; rows are by column, and each has its `place`, TOPIC[PARTITION]@OFFSET.

    `event` has the decoded `fields`, or None where they cannot be read. `also` are places of other events with the same
    id. `model` is the newest record of the model that answered, `model_history` all of them; `trained` are the models
    that the event was trained on.
    """

    pipeline: str
    event_id: str
    event: Row | None = None
    also: list[str] = field(default_factory=list)
    rejections: list[Row] = field(default_factory=list)
    features: Row | None = None
    prediction: Row | None = None
    other_answers: list[Row] = field(default_factory=list)
    model: Row | None = None
    model_history: list[Row] = field(default_factory=list)
    labels: list[Row] = field(default_factory=list)
    outcomes: list[Row] = field(default_factory=list)
    trained: list[Row] = field(default_factory=list)
    records: dict[str, list[Row]] = field(default_factory=dict)


@dataclass(frozen=True)
class Place:
    """Where an event stands on P.events."""

    partition: int
    offset: int


class Explainer:
    """Explains events of a pipeline, whose `contracts` are by topic suffix; `topics` are those that there are."""

    def __init__(
        self,
        name: str,
        contracts: Mapping[str, Contract],
        topics: Sequence[str],
        history: History,
        schemas: SchemaSource,
        models: RecordStream,
        progress: Progress = lambda n: None,  # noqa: ARG005
    ) -> None:
        self._name, self._contracts, self._history, self._schemas = name, contracts, history, schemas
        self._models, self._progress = models, progress
        self._suffixes = [topic.removeprefix(f"{name}.") for topic in topics if topic.startswith(f"{name}.")]
        self._codecs = {suffix: Codec(contract, schemas) for suffix, contract in contracts.items()}
        self._id = str(contracts["events"].schema["tidemill"]["id"])
        self._builtin = [contract for contract in vars(builtin).values() if isinstance(contract, Contract)]

    def total(self) -> int:
        """How many messages there are to look through at most, for a progress bar."""
        wanted = ("events", "rejected", "features", "predictions", "outcomes", "labels", "shadow-predictions")
        return sum(
            self._history.end(topic, p) - self._history.beginning(topic, p)
            for topic in (f"{self._name}.{suffix}" for suffix in wanted if suffix in self._suffixes)
            for p in self._history.partitions(topic)
        )

    def at(self, place: Place) -> str:
        """The id of the event at a place of P.events.

        Raises:
            StreamError: there is none, or it cannot be read.

        """
        topic = f"{self._name}.events"
        record = self._history.fetch(topic, place.partition, [place.offset]).get(place.offset)
        row = None if record is None else self._row("events", record)
        if row is None:
            raise StreamError(
                f"{topic}[{place.partition}]@{place.offset}: expected an event that can be read, found"
                f" {'nothing: retention may have deleted it' if record is None else 'bytes that are none'}"
            )
        return str(row[self._id])

    def explain(self, event_id: str, place: Place | None = None, partition: int | None = None) -> Explanation:
        """All that is known of an event; at a `place`, of the event there. A known `partition` saves much reading.

        Raises:
            StreamError: no topic has such an event.

        """
        made = Explanation(self._name, event_id)
        partition = place.partition if place is not None else partition
        partitions = None if partition is None else [partition]
        answers = [row for _, row in self._find("predictions", event_id, "event_id", partitions)]
        places = {Place(row["source_partition"], row["source_offset"]): row for row in answers}
        rejected = self._rejections(event_id, partitions)
        where = place or next(iter(places), None) or next((at for at, _ in rejected if at is not None), None)
        if where is None:
            # Not yet answered, or of a pipeline that has not run.
            found = next(self._find("events", event_id, self._id, partitions), None)
            if found is None:
                raise StreamError(
                    f"no event with the id {event_id!r} is on {self._name}.events, nor any answer to one: is the id"
                    " right, or has retention deleted it?"
                )
            where = Place(found[0].partition, found[0].offset)
        made.event = self._event(where)
        made.also = [self._at("events", at) for at in {*places, *(at for at, _ in rejected if at)} if at != where]
        made.rejections = [row for at, row in rejected if at in (where, None)]
        made.prediction = places.get(where)
        for suffix in ("features", "shadow-predictions"):
            found_rows = [row for _, row in self._find(suffix, event_id, "event_id", [where.partition])]
            ours = [row for row in found_rows if row["source_offset"] == where.offset]
            if suffix == "features":
                made.features = ours[0] if ours else None
            else:
                made.other_answers = ours
        self._labelled(made, event_id)
        self._explain_model(made, where)
        return made

    def _labelled(self, made: Explanation, event_id: str) -> None:
        outcomes = f"{self._name}.outcomes"
        if "outcomes" in self._suffixes:
            partition = partition_of(event_id.encode(), len(self._history.partitions(outcomes)))
            made.outcomes = [row for _, row in self._find("outcomes", event_id, "event_id", [partition])]
        if "labels" in self._contracts:
            roles = self._contracts["labels"].schema["tidemill"]
            made.labels = [row for _, row in self._find("labels", event_id, str(roles["id"]), None)]

    def _rejections(self, event_id: str, partitions: Sequence[int] | None) -> list[tuple[Place | None, Row]]:
        """Rejections of the event and of its labels; the latter have no place on P.events."""
        found: list[tuple[Place | None, Row]] = []
        for record in self._holding("rejected", self._needles("events", self._id, event_id), partitions):
            rejection = StoredRejection.of(record)
            suffix = rejection.topic.removeprefix(f"{self._name}.")
            is_label = suffix == "labels"
            name = str(self._contracts["labels"].schema["tidemill"]["id"]) if is_label else self._id
            decoded = self._row("labels" if is_label else "events", record)
            if decoded is None or str(decoded[name]) != event_id:
                continue
            row = {
                "stage": rejection.stage,
                "reason": rejection.reason,
                "message": rejection.message,
                "of": f"{rejection.topic}[{rejection.partition}]@{rejection.offset}",
                "place": self._place("rejected", record),
            }
            found.append((None if is_label else Place(rejection.partition, rejection.offset), row))
        return found

    def _event(self, where: Place) -> Row:
        topic = f"{self._name}.events"
        record = self._history.fetch(topic, where.partition, [where.offset]).get(where.offset)
        made: Row = {"place": self._at("events", where), "sent_at_ms": None, "key": None, "fields": None}
        if record is None:
            return made
        made["sent_at_ms"], made["key"] = record.timestamp, record.key
        fields = self._row("events", record)
        if fields is not None:
            del fields["place"]
            private = {f["name"] for f in self._contracts["events"].schema["fields"] if f.get("private")}
            made["fields"] = {name: HIDDEN if name in private else value for name, value in fields.items()}
            if self._contracts["events"].schema["tidemill"]["key"] in private:
                made["key"] = HIDDEN
        return made

    def _explain_model(self, made: Explanation, where: Place) -> None:
        events = announcements(self._models, wait=True)
        version = None if made.prediction is None else made.prediction["model_version"]
        made.model_history = [_shown(event) for event in events if event["model_version"] == version]
        made.model = made.model_history[-1] if made.model_history else None
        outcomes = [_parse_place(row["place"]) for row in made.outcomes]
        newest: dict[str, Row] = {}
        for event in events:
            on = outcomes if event.get("by") == LEARNER else [where] if made.labels else []
            ranges = {row["partition"]: (row["first"], row["last"]) for row in event["training_offsets"]}
            used = [at for at in on if at.partition in ranges and _within(at.offset, ranges[at.partition])]
            # Between the bounds of a stretch stand events of other times, which were left out.
            if used and (event.get("by") == LEARNER or _in_time(made, event)):
                newest.setdefault(event["model_version"], _shown(event))
        made.trained = list(newest.values())
        wanted = {str(made.model.get(name) or "") for name in ("trigger_id", "job_id")} - {""} if made.model else set()
        for suffix in RECORDS if wanted else ():
            if suffix in self._suffixes:
                rows = [row for value in wanted for _, row in self._mentions(suffix, value)]
                made.records[suffix] = rows

    def _mentions(self, suffix: str, value: str) -> Iterator[tuple[LogRecord, Row]]:
        for record in self._holding(suffix, [value.encode()], None):
            row = self._row(suffix, record)
            if row is not None and value in row.values():
                yield record, row

    def _find(
        self, suffix: str, event_id: str, name: str, partitions: Sequence[int] | None
    ) -> Iterator[tuple[LogRecord, Row]]:
        """The messages of a topic whose field `name` is the id."""
        if suffix not in self._suffixes:
            return
        for record in self._holding(suffix, self._needles(suffix, name, event_id), partitions):
            row = self._row(suffix, record)
            if row is not None and str(row.get(name)) == event_id:
                yield record, row

    def _holding(self, suffix: str, needles: Sequence[bytes], partitions: Sequence[int] | None) -> Iterator[LogRecord]:
        if suffix not in self._suffixes:
            return
        topic = f"{self._name}.{suffix}"
        for partition in self._history.partitions(topic):
            if partitions is not None and partition not in partitions:
                continue
            seen = 0
            for seen, record in enumerate(self._history.read(topic, partition), start=1):
                if seen % 1_000 == 0:
                    self._progress(1_000)
                if record.value is not None and any(needle in record.value for needle in needles):
                    yield record
            self._progress(seen % 1_000)

    def _needles(self, suffix: str, name: str, event_id: str) -> list[bytes]:
        """How the id may stand in a message: as text, or as an integer of variable length."""
        made = [event_id.encode()]
        fields = {f.name: f.arrow for f in self._contracts[suffix].fields} if suffix in self._contracts else {}
        number = event_id.removeprefix("-").isdecimal() and event_id.isascii()
        if number and (name not in fields or pa.types.is_integer(fields[name])):
            made.append(_zigzag(int(event_id)))
        return made

    def _row(self, suffix: str, record: LogRecord) -> Row | None:
        codec = self._codecs.get(suffix)
        if codec is None:
            contract = self._writer(record)
            if contract is None:
                return None
            codec = Codec(contract, KnownSchemas([contract]))
        decoded = codec.decode([record.value], [record.headers])
        if not len(decoded.rows):
            return None
        (row,) = decoded.table.to_pylist()
        return {**row, "place": self._place(suffix, record)}

    def _writer(self, record: LogRecord) -> Contract | None:
        """The contract of a record on a topic that no pipeline's contracts name."""
        frame = framing.parse(record.value or b"", record.headers)
        if frame is None or frame.kind is not FrameKind.FINGERPRINT:
            return None
        known = {contract.fingerprint: contract for contract in self._builtin}
        assert isinstance(frame.schema_id, bytes)
        return known.get(frame.schema_id) or self._schemas.by_fingerprint(frame.schema_id)

    def _place(self, suffix: str, record: LogRecord) -> str:
        return self._at(suffix, Place(record.partition, record.offset))

    def _at(self, suffix: str, place: Place) -> str:
        return f"{self._name}.{suffix}[{place.partition}]@{place.offset}"


def _parse_place(text: str) -> Place:
    partition, offset = text.rsplit("[", 1)[1].split("]@")
    return Place(int(partition), int(offset))


def _within(offset: int, bounds: tuple[int, int]) -> bool:
    return bounds[0] <= offset <= bounds[1]


def _in_time(made: Explanation, event: Mapping[str, Any]) -> bool:
    at = made.features["event_time"] if made.features is not None else None
    first, last = event["trained_from"], event["trained_until"]
    return at is None or first is None or last is None or first <= at <= last


def _shown(event: Mapping[str, Any]) -> Row:
    """A record of P.models; gates as what they are instead of as text."""
    gates = event.get("gates") or ""
    try:
        decoded = json.loads(gates) if gates else []
    except ValueError:
        decoded = gates
    return {**event, "metrics": dict(event["metrics"]), "gates": decoded}


def _zigzag(number: int) -> bytes:
    """An Avro int or long.

    >>> _zigzag(-2).hex(), _zigzag(300).hex()
    ('03', 'd804')
    """
    left, made = (number << 1) ^ (number >> 63), bytearray()
    while left > 0x7F:
        made.append(left & 0x7F | 0x80)
        left >>= 7
    made.append(left)
    return bytes(made)
