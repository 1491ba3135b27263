"""What the control plane asks of who judges windows, and what it is told."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from tidemill.processors.drift.incident import Alarm, Offsets, Span
from tidemill.processors.drift.sequences import Sequenced
from tidemill.processors.drift.windows import Mergeable, Merged, WindowKey

T = TypeVar("T", bound=Mergeable)


@dataclass(frozen=True)
class Judgement:
    """What was found in a window, and of which (kind, slice) it was looked for: there, what was not found is quiet.

    `offsets` are those of the window's events: (partition, first, last). `metrics` are how good predictions were in
    it, of outcomes.
    """

    alarms: Sequence[Alarm]
    covered: Collection[tuple[str, str]]
    offsets: Offsets = ()
    metrics: Mapping[str, float] = field(default_factory=dict)


class Judge(Protocol[T]):
    """Says what is wrong with a complete window, and with outcomes as they follow each other.

    Its answers depend on what it was asked, in that order, and on nothing else; `save` and `restore` carry over what it
    remembers of that.
    """

    def window(self, span: Span, kind: str, profiles: Mapping[WindowKey, Merged[T]]) -> Judgement:
        """A complete window: its profiles of one kind, by slice and model version."""
        ...

    def outcomes(self, blocks: Sequence[Sequenced]) -> Sequence[tuple[Span, Alarm]]:
        """Outcomes in order; the alarms, each with the stretch of label time that led to it."""
        ...

    def save(self) -> object:
        """What it remembers, as JSON can hold it."""
        ...

    def restore(self, saved: object) -> None:
        """Begin with what was saved."""
        ...
