"""A partition's labels in numbers: how many of each kind, how long they took, how complete a day is."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

KINDS = ("joined", "early", "late", "unknown", "doubled", "changed", "outdated", "repeated")
"""Of labels; `repeated` counts predictions whose id had one."""
_DAY = 86_400_000_000
_DAYS = 64
_PER_DOUBLING = 8
_LEAST = 1_000
"""Delays are told apart from a millisecond on, by an eighth of a power of two, so by less than a tenth."""


@dataclass
class Tally:
    """Counts that add up over partitions.

    >>> tally = Tally()
    >>> tally.delayed(np.array([60_000_000, 61_000_000, 3_600_000_000]))
    >>> round(tally.quantile(0.5) / 6e7), tally.share_within(120_000_000) > 0.6
    (1, True)
    """

    counts: Counter[str] = field(default_factory=Counter)
    delays: Counter[int] = field(default_factory=Counter)
    predicted: Counter[int] = field(default_factory=Counter)
    """By day of event time, counted from 1970: predictions."""
    labelled: Counter[int] = field(default_factory=Counter)
    """The same: of these, those that have a label."""

    def delayed(self, micros: NDArray[np.int64]) -> None:
        """Count how long first labels took, in microseconds; what is negative or brief is the least."""
        steps = np.log2(np.maximum(micros, _LEAST) / _LEAST) * _PER_DOUBLING
        _add(self.delays, np.ceil(steps).astype(np.int64))

    def saw(self, times: NDArray[np.int64]) -> None:
        """Count predictions by their event times."""
        _add(self.predicted, times // _DAY)
        while len(self.predicted) > _DAYS:
            oldest = min(self.predicted)
            del self.predicted[oldest]
            self.labelled.pop(oldest, None)

    def answered(self, times: NDArray[np.int64]) -> None:
        """Count first labels by their events' times."""
        days = times // _DAY
        kept = days[np.isin(days, list(self.predicted))]
        _add(self.labelled, kept)

    def quantile(self, share: float) -> float:
        """The delay in microseconds by which this share of the labels had come, NaN without any."""
        steps = sorted(self.delays)
        total = sum(self.delays.values())
        if not total:
            return float("nan")
        reached = np.cumsum([self.delays[step] for step in steps])
        step = steps[int(np.searchsorted(reached, share * total))]
        return float(_LEAST * 2 ** (step / _PER_DOUBLING))

    def share_within(self, micros: int) -> float:
        """Which share of the labels so far had come after so long; NaN without any."""
        total = sum(self.delays.values())
        if not total:
            return float("nan")
        limit = np.log2(max(micros, _LEAST) / _LEAST) * _PER_DOUBLING
        return sum(count for step, count in self.delays.items() if step <= limit) / total

    def numbers(self) -> dict[str, int]:
        """All of it as names and whole numbers, as a position holds them."""
        made = {f"count.{kind}": n for kind, n in self.counts.items()}
        for name, counter in self._series():
            made |= {f"{name}.{key}": n for key, n in counter.items()}
        return made

    def restore(self, numbers: Mapping[str, int]) -> None:
        """Add what `numbers` gave."""
        series = dict(self._series())
        for name, n in numbers.items():
            kind, _, key = name.partition(".")
            if kind == "count":
                self.counts[key] += n
            elif kind in series:
                series[kind][int(key)] += n

    def _series(self) -> Iterable[tuple[str, Counter[int]]]:
        return (("delay", self.delays), ("predicted", self.predicted), ("labelled", self.labelled))


def _add(counter: Counter[int], keys: NDArray[np.int64]) -> None:
    distinct, counts = np.unique(keys, return_counts=True)
    for key, count in zip(distinct.tolist(), counts.tolist(), strict=True):
        counter[key] += count
