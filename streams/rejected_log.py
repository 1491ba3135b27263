"""Looking through P.rejected: by reason, stage, time or place, and what is there in sum."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tidemill.schemas.errors import DeclarationError
from tidemill.streams.ports import History
from tidemill.streams.rejections import StoredRejection

Progress = Callable[[int], None]
TOLD_EVERY = 1_000
_PLACE = re.compile(
    r"(?:(?P<topic>[^\s\[\]@]+)\[(?P<in_topic>\d{1,9})\]|(?P<bare>\d{1,9}))@(?P<offset>\d{1,18})", re.ASCII
)


@dataclass(frozen=True)
class Place:
    """A record's topic, partition and offset; written `TOPIC[PARTITION]@OFFSET`."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]@{self.offset}"


def parse_place(text: str, pipeline: str) -> Place:
    """A place as people write it: of a rejection, or of the event that it is about.

    >>> str(parse_place("2@17", "tides"))
    'tides.rejected[2]@17'
    >>> parse_place("tides.events[0]@5", "tides")
    Place(topic='tides.events', partition=0, offset=5)

    Raises:
        DeclarationError: it is none, or of neither topic.

    """
    found = _PLACE.fullmatch(text)
    rejected, events = f"{pipeline}.rejected", f"{pipeline}.events"
    if found is None or (found["topic"] or rejected) not in (rejected, events, f"{pipeline}.labels"):
        raise DeclarationError(
            f"expected the place of a rejection, such as 2@17 or {rejected}[2]@17, or of its event or label,"
            f" {events}[2]@17; got {text!r}"
        )
    return Place(found["topic"] or rejected, int(found["in_topic"] or found["bare"]), int(found["offset"]))


@dataclass(frozen=True)
class Selection:
    """Which rejections: those that have one of the reasons, of the stages and of the places, where any are given.

    `since` is in epoch milliseconds, of the event's record.
    """

    reasons: frozenset[str] = frozenset()
    stages: frozenset[str] = frozenset()
    since: int | None = None
    places: frozenset[Place] = frozenset()

    def has(self, rejection: StoredRejection, topic: str) -> bool:
        """Whether it is one of them; `topic` is where it stands."""
        if self.reasons and rejection.reason not in self.reasons:
            return False
        if self.stages and rejection.stage not in self.stages:
            return False
        if self.since is not None and rejection.record.timestamp < self.since:
            return False
        return not self.places or bool(self.places & {place_of(rejection, topic), event_of(rejection)})


EVERYTHING = Selection()


def place_of(rejection: StoredRejection, topic: str) -> Place:
    """Where the rejection stands."""
    return Place(topic, rejection.record.partition, rejection.record.offset)


def event_of(rejection: StoredRejection) -> Place:
    """Where its event stands."""
    return Place(rejection.topic, rejection.partition, rejection.offset)


def partitions_of(reader: History, name: str, selection: Selection) -> list[int]:
    """The partitions that a selection can be in: an event and its rejection have the same."""
    every = reader.partitions(f"{name}.rejected")
    named = {place.partition for place in selection.places}
    return [partition for partition in every if not named or partition in named]


def read_rejections(
    reader: History,
    name: str,
    partition: int,
    selection: Selection = EVERYTHING,
    progress: Progress = lambda n: None,  # noqa: ARG005
) -> Iterator[StoredRejection]:
    """A partition's rejections that are in the selection, up to the present end, in log order; one is held at a time.

    `progress` is told how many more messages were looked at.
    """
    topic = f"{name}.rejected"
    start, end = 0, None
    if selection.places and all(place.topic == topic for place in selection.places):
        offsets = [place.offset for place in selection.places if place.partition == partition]
        start, end = min(offsets), min(max(offsets) + 1, reader.end(topic, partition))
    seen = 0
    for seen, record in enumerate(reader.read(topic, partition, start, end), start=1):
        rejection = StoredRejection.of(record)
        if selection.has(rejection, topic):
            yield rejection
        if seen % TOLD_EVERY == 0:
            progress(TOLD_EVERY)
    progress(seen % TOLD_EVERY)


@dataclass
class Kind:
    """Rejections of one stage for one reason; `first` and `last` are the times of their records in milliseconds.

    `retried` of them were sent again. The example is the one that was written last.
    """

    stage: str
    reason: str
    count: int = 0
    retried: int = 0
    first: int = 0
    last: int = 0
    example: str = ""
    place: str = ""


def tally(
    reader: History,
    name: str,
    selection: Selection,
    retried: Callable[[int], Sequence[int] | frozenset[int]],
    progress: Progress = lambda n: None,  # noqa: ARG005
    retried_labels: Callable[[int], Sequence[int] | frozenset[int]] = lambda p: (),  # noqa: ARG005
) -> list[Kind]:
    """Count rejections by stage and reason, the most frequent first.

    `retried` gives the event offsets of a partition that were sent again, `retried_labels` those of labels. Memory
    grows with the kinds and with those offsets, not with the rejections.
    """
    kinds: dict[tuple[str, str], Kind] = {}
    topic = f"{name}.rejected"
    for partition in partitions_of(reader, name, selection):
        again = {f"{name}.events": retried(partition), f"{name}.labels": retried_labels(partition)}
        for rejection in read_rejections(reader, name, partition, selection, progress):
            at = rejection.record.timestamp
            kind = kinds.setdefault((rejection.stage, rejection.reason), Kind(rejection.stage, rejection.reason))
            kind.first, kind.last = (min(kind.first, at), max(kind.last, at)) if kind.count else (at, at)
            kind.count += 1
            kind.retried += rejection.offset in again.get(rejection.topic, ())
            kind.example, kind.place = rejection.message, str(place_of(rejection, topic))
    return sorted(kinds.values(), key=lambda kind: (-kind.count, kind.stage, kind.reason))
