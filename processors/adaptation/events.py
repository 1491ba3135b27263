"""What an adaptation policy did, and why."""

from dataclasses import dataclass, field
from enum import StrEnum


class Kind(StrEnum):
    """What happened."""

    ALARM = "alarm"
    """The errors of what answers have become more frequent."""
    FIT = "fit"
    """One batch model was fitted."""
    PROMOTION = "promotion"
    """Newly fitted models have begun to answer."""
    REFUSAL = "refusal"
    """Newly fitted models were given up: not better by more than noise."""
    CONFIRMATION = "confirmation"
    """A promotion's probation is over; its figures say how what answered before would have done."""
    ROLLBACK = "rollback"
    """A promotion turned out worse; what answered before answers again."""


@dataclass(frozen=True)
class Event:
    """One act of the policy. `row` is how many labels it had learnt from."""

    kind: Kind
    row: int
    reason: str
    figures: dict[str, float] = field(default_factory=dict)
