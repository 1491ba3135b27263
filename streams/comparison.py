"""What a replay made of a partition's events, beside what the live run made of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tidemill.schemas.codec import Codec
from tidemill.streams.feature_index import FeatureIndex
from tidemill.streams.ports import Headers, History, LogRecord, Output
from tidemill.streams.rejections import HEADERS

SHOWN = 5
"""How many offsets of a partition are named for each way in which the features are not the same."""


@dataclass(frozen=True)
class Stretch:
    """The events that are looked at: of each partition, offsets in [first, stop) with timestamps in [since, until).

    Timestamps are the records', in epoch milliseconds; None leaves a side open.
    """

    first: int = 0
    stop: int | None = None
    since: int | None = None
    until: int | None = None

    def holds(self, offsets: NDArray[np.int64], timestamps: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which records lie in it."""
        inside = offsets >= self.first
        for bound, values in ((self.stop, offsets), (self.until, timestamps)):
            if bound is not None:
                inside &= values < bound
        return inside if self.since is None else inside & (timestamps >= self.since)


@dataclass(frozen=True)
class Difference:
    """One field of an event's features that came out otherwise than it stands on the topic."""

    partition: int
    offset: int
    field: str
    replayed: object
    found: object


@dataclass
class PartitionReplay:
    """What came of one partition's events.

    Of the `features` made by the replay, those that stand on P.features were `compared`; `waiting` ones were not yet
    made by the live run, those of `expired` events may have been deleted by retention, and the rest is `missing`.
    `surplus` features stand there without an event that would make them.
    """

    partition: int
    events: int = 0
    features: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    """By stage and reason, such as "sanity_check: out_of_range"."""
    compared: int = 0
    equal: int = 0
    different: int = 0
    missing: int = 0
    surplus: int = 0
    waiting: int = 0
    expired: int = 0
    first_missing: list[int] = field(default_factory=list)
    first_surplus: list[int] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether the replay made what the live run made."""
        return self.different == self.missing == self.surplus == 0


class Comparison:
    """Counts what came out of a partition's events, and sets it against what its index has, if there is one."""

    def __init__(self, made: PartitionReplay, index: FeatureIndex | None, reached: int, stretch: Stretch) -> None:
        self._made, self._index, self._reached, self._stretch = made, index, reached, stretch
        self._shown: list[tuple[int, tuple[int, bytes | None, bytes | None], int]] = []

    def take(
        self,
        records: Sequence[LogRecord],
        featured: NDArray[np.int64],
        features: Output | None,
        rejected: Output | None,
    ) -> None:
        """Count a batch; `featured` are the event offsets of `features`."""
        offsets = np.array([record.offset for record in records], dtype=np.int64)
        timestamps = np.array([record.timestamp for record in records], dtype=np.int64)
        inside = set(offsets[self._stretch.holds(offsets, timestamps)].tolist())
        self._made.events += len(inside)
        if rejected is not None:
            self._reject(rejected, inside)
        if features is not None:
            rows = zip(featured.tolist(), features.timestamp.tolist(), features.keys, features.values, strict=True)
            for offset, timestamp, key, value in rows:
                if offset in inside:
                    self._made.features += 1
                    self._compare(offset, (max(timestamp, 0), key, value))
        if self._index is not None:
            for offset in sorted(inside.difference(featured.tolist())):
                if self._index.place[offset] >= 0:
                    self._made.surplus += 1
                    _show(self._made.first_surplus, offset)

    def _reject(self, rejected: Output, inside: set[int]) -> None:
        for headers in rejected.headers or []:
            found = dict(headers or [])
            if int(found[HEADERS["offset"]]) in inside:
                self._made.rejected[f"{found[HEADERS['stage']].decode()}: {found[HEADERS['reason']].decode()}"] += 1

    def _compare(self, offset: int, message: tuple[int, bytes | None, bytes | None]) -> None:
        index, made = self._index, self._made
        if index is None:
            return
        if index.place[offset] < 0:
            if offset < index.kept_from:
                made.expired += 1
            elif offset >= self._reached:
                made.waiting += 1
            else:
                made.missing += 1
                _show(made.first_missing, offset)
            return
        made.compared += 1
        if index.digest[offset] != index.digest_of(*message):
            made.different += 1
            self._shown.append((offset, message, int(index.place[offset])))
        elif offset in index.conflicting:
            made.different += 1
            self._shown.append((offset, message, index.conflicting[offset]))
        else:
            made.equal += 1
        del self._shown[SHOWN:]

    def differences(self, history: History, codec: Codec) -> list[Difference]:
        """The first events whose features differ, field by field."""
        found = []
        for offset, (timestamp, key, value), place in self._shown:
            assert self._index is not None
            there = history.fetch(self._index.topic, self._made.partition, [place]).get(place)
            pairs: dict[str, tuple[object, object]] = {}
            if there is not None:
                pairs = {"record timestamp": (timestamp, there.timestamp), "record key": (key, there.key)}
                ours, theirs = _row(codec, value, []), _row(codec, there.value, there.headers)
                pairs |= {name: (ours.get(name), theirs.get(name)) for name in ours}
            # By what they look like, so that NaN is itself, and -0.0 is not 0.0.
            unequal = [(name, pair) for name, pair in pairs.items() if repr(pair[0]) != repr(pair[1])]
            if not unequal:
                unequal = [("bytes", (value, None if there is None else there.value))]
            found += [Difference(self._made.partition, offset, name, *pair) for name, pair in unequal]
        return found


def _row(codec: Codec, value: bytes | None, headers: Headers) -> dict[str, object]:
    rows: list[dict[str, object]] = codec.decode([value], [headers]).table.to_pylist()
    return rows[0] if rows else {}


def _show(shown: list[int], offset: int) -> None:
    if len(shown) < SHOWN:
        shown.append(offset)
