"""Windows: what a key's recent events amount to, as each event sees it.

Event time is cut into buckets of one `resolution`: an event at t, in microseconds, is in bucket floor(t / resolution).
A window spans B = ceil(over / resolution) buckets. For an event in bucket b it covers that key's earlier events, in log
order and without the event itself, whose buckets lie in (b - B, b]. So its far edge is exact to one resolution and
moves in steps (the sawtooth of Airbnb's Chronon); and an event sees those of its own bucket that came before it in the
log, even if their time is a little later than its own.

A key keeps the buckets in (n - B - G, n], where n is its newest bucket and G = ceil(grace / resolution): what is older
is dropped when a newer event is added, and an event that is older than that is not added. Thus an event up to `grace`
late counts and sees its whole window; a later one sees what is left of it.

How the aggregates are computed, to the bit: in float64; within a bucket in log order, from the newest bucket to the
oldest between them. A decayed mean is sum(w * sum of the bucket) / sum(w * values in the bucket), with
w = 2^(-(bucket's age * resolution) / half_life), ages being counted from the newest bucket in the window with values.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from tidemill.processors.duration import duration
from tidemill.processors.feature_enrichment.aggregates import Aggregate
from tidemill.schemas.errors import DeclarationError

_DEFAULT_BUCKETS = 64
_MOST_BUCKETS = 1_000_000


@dataclass(frozen=True)
class Window:
    """Aggregates over the earlier events of the same key; made by `window`. Spans are in microseconds."""

    key: str
    over: int
    resolution: int
    grace: int
    aggregates: tuple[tuple[str, Aggregate], ...]

    @property
    def buckets(self) -> int:
        """How many buckets the window spans: `over`, rounded up to whole steps of the resolution."""
        return -(-self.over // self.resolution)

    @property
    def kept_buckets(self) -> int:
        """How many buckets a key keeps: the window's and those of the grace."""
        return self.buckets + -(-self.grace // self.resolution)

    @property
    def names(self) -> tuple[str, ...]:
        """The features that it makes, in order."""
        return tuple(name for name, _ in self.aggregates)

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that it aggregates, each once."""
        return tuple(sorted({a.field for _, a in self.aggregates if a.field is not None}))

    @property
    def state_name(self) -> str:
        """A name for its state which changes whenever the state would mean something else."""
        state = [self.key, self.over, self.resolution, self.grace]
        state += sorted({f"{a.kind.value} {a.field}" for _, a in self.aggregates})
        return f"window-{self.key}-{hashlib.sha256(json.dumps(state).encode()).hexdigest()[:8]}"

    def describe(self) -> dict[str, Any]:
        """All that decides its features."""
        return {
            "kind": "window",
            "key": self.key,
            "over_us": self.over,
            "resolution_us": self.resolution,
            "grace_us": self.grace,
            "aggregates": [[name, aggregate.describe()] for name, aggregate in self.aggregates],
        }


def window(
    key: str,
    over: str | timedelta,
    resolution: str | timedelta | None = None,
    grace: str | timedelta | None = None,
    **aggregates: Aggregate,
) -> Window:
    """Declare one feature per aggregate over the key's earlier events within `over`; the module says what that covers.

    `resolution` defaults to a 64th of `over`. Time and memory grow with the buckets that hold events, at most
    (over + grace) / resolution per key. `grace` defaults to none.

    >>> from tidemill.processors.feature_enrichment import count, mean
    >>> window("tail_number", over="12h", flights=count(), late=mean("departure_delay")).names
    ('flights', 'late')

    Raises DeclarationError.
    """
    if not isinstance(key, str):
        raise DeclarationError(f"window() expected the name of its key field, got {type(key).__name__}")
    if not aggregates:
        raise DeclarationError(f"window({key!r}) has no features; add some, such as flights=count()")
    for name, aggregate in aggregates.items():
        if not isinstance(aggregate, Aggregate):
            raise DeclarationError(
                f"window({key!r}): {name} must be one of count(), sum(), mean(), min(), max(), last(), decayed_mean(); "
                f"got {aggregate!r}"
            )
    span = duration(over)
    step = duration(resolution) if resolution is not None else -(-span // _DEFAULT_BUCKETS)
    if span == 0 or step == 0:
        raise DeclarationError(f"window({key!r}): over and resolution must be longer than zero")
    made = Window(key, span, step, duration(grace) if grace is not None else 0, tuple(aggregates.items()))
    if made.kept_buckets > _MOST_BUCKETS:
        raise DeclarationError(
            f"window({key!r}): over and grace make {made.kept_buckets:,} steps of the resolution; "
            f"expected at most {_MOST_BUCKETS:,}, so choose a coarser resolution"
        )
    return made
