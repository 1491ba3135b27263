"""Windows: what a key's recent events amount to, as each event sees it.

Event time is cut into buckets of one `resolution`: an event at t, in microseconds, is in bucket floor(t / resolution).
A window spans B = ceil(over / resolution) buckets. For an event in bucket b it covers that key's earlier events, in log
order and without the event itself, whose buckets lie in (b - B, b]. So its far edge is exact to one resolution and
moves in steps (the sawtooth of Airbnb's Chronon); and an event sees those of its own bucket that came before it in the
log, even if their time is a little later than its own.

A key keeps the buckets in (n - B - G, n], where n is its newest bucket and G = ceil(grace / resolution): what is older
is dropped when a newer event is added, and an event that is older than that is not added. Thus an event up to `grace`
late counts and sees its whole window; a later one sees what is left of it.

The partition's clock is the greatest event time so far among its events with a key, each counted with its record's
timestamp where that is earlier: a time far ahead moves nothing but its own key. A key expires when nothing was added to
it while the clock moved by 2B + G buckets, and its newest bucket lies as far behind. So no event ahead of the clock or
within the last B + G buckets up to it can tell the difference; one that is even later finds the key as if it were new.

How the aggregates are computed, to the bit: in float64; within a bucket in log order, from the newest bucket to the
oldest between them. A decayed mean is sum(w * sum of the bucket) / sum(w * values in the bucket), with
w = 2^(-(bucket's age * resolution) / half_life), ages being counted from the newest bucket in the window with values.

A standard deviation is that of a sample. Within a bucket, n, the mean and M2, the sum of squared deviations, grow by
Welford's method (Technometrics 4, 1962), from zeros: n += 1, d = x - mean, mean += d / n, M2 += d * (x - mean). Into
the newest bucket with values, those before it are merged by that of Chan, Golub and LeVeque (Stanford STAN-CS-79-773):
with d = their mean - mean and N = n + their n,
M2 += their M2 + d * d * (n * their n / N), mean += d * (their n / N), n = N.
The result is sqrt(M2 / (n - 1)).
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from tidemill.processors.duration import duration
from tidemill.processors.feature_enrichment.aggregates import Aggregate, Kind
from tidemill.schemas.errors import DeclarationError

_DEFAULT_BUCKETS = 64
_MOST_BUCKETS = 1_000_000
# At 16 bytes each, one key's values fit into a message of the changelog, with room for the rest.
_MOST_VALUES = 150_000
# Counts up whenever the state of the same window comes to be written in other columns.
_STATE = 2
# What makes an aggregate, for those who gave something else.
_AGGREGATES = ", ".join(f"{kind.value}()" for kind in Kind)


@dataclass(frozen=True)
class Window:
    """Aggregates over the earlier events of the same key; made by `window`. Spans are in microseconds."""

    key: str
    over: int
    resolution: int
    grace: int
    aggregates: tuple[tuple[str, Aggregate], ...]

    @cached_property
    def buckets(self) -> int:
        """How many buckets the window spans: `over`, rounded up to whole steps of the resolution."""
        return -(-self.over // self.resolution)

    @cached_property
    def kept_buckets(self) -> int:
        """How many buckets a key keeps: the window's and those of the grace."""
        return self.buckets + -(-self.grace // self.resolution)

    @cached_property
    def idle_buckets(self) -> int:
        """By how many buckets the clock must have moved since a key's last event for the key to have expired.

        An event whose bucket is among the last `kept_buckets` up to the clock looks back by `buckets` more at most; no
        such event can tell that the key was forgotten.
        """
        return self.kept_buckets + self.buckets

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features that it makes, in order."""
        return tuple(name for name, _ in self.aggregates)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields that it aggregates, each once."""
        return tuple(sorted({a.field for _, a in self.aggregates if a.field is not None}))

    @cached_property
    def limits(self) -> dict[str, int]:
        """By each field whose values are told apart, in order, how many of them a bucket keeps."""
        found: dict[str, int] = {}
        for _, aggregate in self.aggregates:
            if aggregate.field is not None and aggregate.limit is not None:
                found[aggregate.field] = max(aggregate.limit, found.get(aggregate.field, 0))
        return dict(sorted(found.items()))

    @cached_property
    def state_name(self) -> str:
        """A name for its state which changes whenever the state would mean something else."""
        state = [_STATE, self.key, self.over, self.resolution, self.grace]
        state += sorted({f"{a.kind.value} {a.field}" for _, a in self.aggregates})
        state += [self.limits] if self.limits else []
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
            raise DeclarationError(f"window({key!r}): {name} must be one of {_AGGREGATES}; got {aggregate!r}")
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
    most_values = made.kept_buckets * sum(made.limits.values())
    if most_values > _MOST_VALUES:
        raise DeclarationError(
            f"window({key!r}): the limits of distinct() let a key keep {most_values:,} values in {made.kept_buckets:,} "
            f"steps of the resolution; expected at most {_MOST_VALUES:,}, so choose a lower limit or a coarser "
            f"resolution"
        )
    return made
