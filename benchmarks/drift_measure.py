"""What a detector does on a case: when its alarms come, and what they are worth."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from statistics import fmean
from typing import Any

import numpy as np
from drift_streams import Case, Drift

from tidemill.processors.drift.detectors import DEFAULT, NAMES, Sequential, sequential

HORIZON = 3_000
"""Rows after a drift has begun, and its width besides, in which an alarm is due to it."""
ALWAYS, NEVER = "always fires", "never fires"
DETECTORS = (*NAMES, ALWAYS, NEVER)
SLOW = ("kswin",)
"""Hundreds of microseconds a row: measured on the first seed alone."""


def alarms(name: str, case: Case) -> list[int]:
    """The rows at which a detector fires."""
    if name == ALWAYS:
        return list(range(len(case.errors)))
    if name == NEVER:
        return []
    detector = sequential(name)
    if name == DEFAULT:
        return _ours(detector, case)
    found = []
    update = detector.update
    for i, error in enumerate(case.errors.tolist()):
        update(error)
        if detector.drift_detected:
            found.append(i)
    return found


def _ours(detector: Sequential, case: Case) -> list[int]:
    found: list[int] = []
    start = 0
    inner: Any = detector.detector
    while (at := inner.update_blocks(case.errors[start:])) is not None:
        found.append(start + at)
        start += at + 1
    return found


@dataclass
class Score:
    """Sums over cases of one stream."""

    runs: int = 0
    rows: int = 0
    quiet_rows: int = 0
    false_alarms: int = 0
    alarms: int = 0
    drifts: int = 0
    delays: list[int] = field(default_factory=list)
    waits: list[int] = field(default_factory=list)

    def add(self, case: Case, fired: Sequence[int]) -> None:
        fired = [at for at in fired if at >= case.warm_up]
        quiet = np.ones(len(case.errors), bool)
        quiet[: case.warm_up] = False
        drifts = case.drifts or ()
        if case.drifts is None:
            quiet[:] = False
        for drift in drifts:
            end = min(drift.start + drift.width + HORIZON, len(case.errors))
            later = [other.start for other in drifts if other.start > drift.start]
            end = min([end, *later])
            quiet[drift.start : end] = False
            within = [at for at in fired if drift.start <= at < end]
            self.drifts += 1
            if within:
                self.delays.append(within[0] - drift.start + 1)
            self.waits.append(within[0] - drift.start + 1 if within else end - drift.start)
        self.runs += 1
        self.rows += len(case.errors) - case.warm_up
        self.alarms += len(fired)
        self.quiet_rows += int(quiet.sum())
        self.false_alarms += sum(bool(quiet[at]) for at in fired)

    def merge(self, other: "Score") -> None:
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def result(self) -> dict[str, Any]:
        """Delay in rows of those found, and with those missed counted as the time until they were given up."""
        return {
            "runs": self.runs,
            "rows": self.rows,
            "drifts": self.drifts,
            "alarms_per_10000": 10_000 * self.alarms / self.rows,
            "false_alarms_per_10000": 10_000 * self.false_alarms / self.quiet_rows if self.quiet_rows else None,
            "mean_delay": fmean(self.delays) if self.delays else None,
            "missed": 1 - len(self.delays) / self.drifts if self.drifts else None,
            "mean_wait": fmean(self.waits) if self.waits else None,
        }


def dominated(name: str, figures: dict[str, tuple[float, ...]]) -> list[str]:
    """Which others are at least as good in everything and better in something."""
    mine = figures[name]
    return [
        other
        for other, theirs in figures.items()
        if other != name and all(a <= b for a, b in zip(theirs, mine, strict=True)) and theirs != mine
    ]


def steps(seeds: range, before: float, after: float, *, rows: int = 5_000) -> Score:
    """False alarms and delays on coins whose rate steps up once, for the figures of the default."""
    score = Score()
    for seed in seeds:
        chance = np.random.default_rng([seed, round(1000 * before), round(1000 * after)])
        errors = (chance.random(rows + HORIZON) < np.repeat([before, after], [rows, HORIZON])).astype(float)
        score.add(Case("", errors, (Drift(rows),)), alarms(DEFAULT, Case("", errors, ())))
    return score
