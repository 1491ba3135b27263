"""How a pipeline's labels stand, read from what the outcomes task has committed."""

import json
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

from tidemill.processors.outcomes.ageing import NEVER
from tidemill.processors.outcomes.tally import KINDS, Tally
from tidemill.streams.history import last_value
from tidemill.streams.ports import History

_KEY = b"position/outcomes"
_DAY = 86_400_000_000
_EPOCH = date(1970, 1, 1)
_WAITING = ("predictions", "answers", "early")


@dataclass(frozen=True)
class LabelledDay:
    """A day of event time: its predictions, and those of them that have a label.

    `expected` is the share of the labels that should have come by now, judging by the delays so far; None while nothing
    is known of them.
    """

    day: date
    predictions: int
    labelled: int
    expected: float | None

    @property
    def mature(self) -> bool:
        """Whether at most one label in a hundred is still to come."""
        return self.expected is not None and self.expected >= 0.99


@dataclass(frozen=True)
class LabelStatus:
    """What became of labels, how long they took in seconds, and how complete the days are.

    `waiting` are predictions without a label, `early` labels without a prediction.
    """

    waiting: int
    early: int
    counts: dict[str, int]
    delays: dict[str, float | None]
    days: tuple[LabelledDay, ...] = field(default=())


def label_status(reader: History, name: str) -> LabelStatus:
    """Of all partitions together.

    Raises:
        StreamError: there is no such pipeline.

    """
    topic = f"{name}.changelog"
    tally, clock = Tally(), NEVER
    held = dict.fromkeys(_WAITING, 0)
    for partition in reader.partitions(topic):
        position = _last_position(reader, topic, partition)
        if position is not None:
            tally.restore(position)
            clock = max([clock, *(time for name, time in position.items() if name.startswith("reached."))])
            for kind in _WAITING:
                held[kind] += position[f"held.{kind}"]
    delays = {f"p{round(q * 100)}": _seconds(tally.quantile(q)) for q in (0.5, 0.9, 0.99)}
    days = tuple(
        LabelledDay(
            _EPOCH + timedelta(days=day),
            tally.predicted[day],
            tally.labelled[day],
            _known(tally.share_within(clock - (day + 1) * _DAY)) if clock > (day + 1) * _DAY else 0.0,
        )
        for day in sorted(tally.predicted)
    )
    counts = {kind: tally.counts[kind] for kind in KINDS}
    return LabelStatus(held["predictions"] - held["answers"], held["early"], counts, delays, days)


def _last_position(reader: History, topic: str, partition: int) -> dict[str, Any] | None:
    """The clock in the last position of the outcomes stage: each of its commits ends with one."""
    value = last_value(topic, partition, _KEY, reader)
    if value is None:
        return None
    clock: dict[str, Any] = json.loads(value)["clock"]
    return clock


def _known(share: float) -> float | None:
    return None if share != share else share


def _seconds(micros: float) -> float | None:
    return None if micros != micros else micros / 1e6
