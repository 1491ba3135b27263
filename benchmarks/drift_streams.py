"""Sequences of outcomes with known drifts: drawn from a coin, from River's generators, and of the streams in a folder.

A case is the errors of a model, row by row, and where they must become more frequent. For streams of events the model
is a Hoeffding tree that predicts each row before it learns it, so that a drift shows as a rise that passes.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Errors = NDArray[np.float64]
WARM_UP = 1_000
"""Rows of a learner's beginning, in which alarms are neither right nor false."""


@dataclass(frozen=True)
class Drift:
    """From which row the errors rise, and over how many."""

    start: int
    width: int = 0


@dataclass(frozen=True)
class Case:
    """Outcomes, one a row, and the drifts in them if they are known; alarms before `warm_up` do not count."""

    stream: str
    errors: Errors
    drifts: tuple[Drift, ...] | None
    warm_up: int = 0


def coin(stream: str, rates: Errors, drifts: tuple[Drift, ...], seed: int) -> Case:
    return Case(stream, (np.random.default_rng(seed).random(len(rates)) < rates).astype(float), drifts)


def step(before: float, after: float, *, rows: int = 5_000, horizon: int = 3_000) -> Errors:
    return np.r_[np.full(rows, before), np.full(horizon, after)]


def coins(seed: int) -> Iterator[Case]:
    """Each kind of drift once."""
    for before, after in ((0.2, 0.3), (0.2, 0.4), (0.05, 0.1), (0.1, 0.2), (0.3, 0.45), (0.4, 0.6)):
        yield coin(f"coin {before:g} to {after:g}, abrupt", step(before, after), (Drift(5_000),), seed)
    ramp = np.linspace(0.2, 0.4, 2_000)
    incremental = np.r_[np.full(5_000, 0.2), ramp, np.full(2_000, 0.4)]
    yield coin("coin .2 to .4, incremental", incremental, (Drift(5_000, 2_000),), seed)
    chance = np.random.default_rng([seed, 1])
    gradual = np.where(chance.random(9_000) < np.clip((np.arange(9_000) - 5_000) / 2_000, 0, 1), 0.4, 0.2)
    yield coin("coin .2 to .4, gradual", gradual, (Drift(5_000, 2_000),), seed)
    recurring = np.tile(step(0.2, 0.35, rows=3_000, horizon=3_000), 3)
    yield coin("coin .2 and .35, recurring", recurring, tuple(Drift(3_000 + 6_000 * i) for i in range(3)), seed)
    yield coin("coin .2, no drift", np.full(20_000, 0.2), (), seed)
    yield Case("coin .2 in runs, no drift", runs_of_errors(0.2, 0.8, 20_000, seed), ())


def runs_of_errors(rate: float, kept: float, rows: int, seed: int) -> Errors:
    """A Markov chain: with probability `kept` a row is as the one before it, else drawn anew."""
    chance = np.random.default_rng([seed, 2])
    keep, fresh = chance.random(rows) < kept, chance.random(rows) < rate
    keep[0] = False
    return fresh[np.maximum.accumulate(np.where(keep, 0, np.arange(rows)))].astype(float)


def prequential(rows: Iterator[tuple[dict[str, Any], Any]]) -> Errors:
    """The errors of a tree that sees each row's label after it has predicted it."""
    from river import tree

    learner, errors = tree.HoeffdingTreeClassifier(grace_period=100), []
    for x, y in rows:
        errors.append(learner.predict_one(x) != y)
        learner.learn_one(x, y)
    return np.array(errors, float)


def generated() -> dict[str, Callable[[int], Case]]:
    """Cases by River's generators: concepts that follow each other, every 8,000 rows."""
    from river.datasets import synth

    def chain(name: str, make: Callable[[int, int], Any], concepts: int) -> Callable[[int], Case]:
        def case(seed: int) -> Case:
            parts = (itertools.islice(iter(make(i, seed + i)), 8_000) for i in range(concepts))
            drifts = tuple(Drift(8_000 * i) for i in range(1, concepts))
            return Case(name, prequential(itertools.chain.from_iterable(parts)), drifts, WARM_UP)

        return case

    def blended(seed: int) -> Case:
        """SEA's second concept replaces its first little by little, over 2,000 rows."""
        old, new = iter(synth.SEA(0, seed=seed, noise=0.05)), iter(synth.SEA(3, seed=seed, noise=0.05))
        chance = np.random.default_rng(seed)
        ripe = chance.random(16_000) < np.clip((np.arange(16_000) - 8_000) / 2_000, 0, 1)
        rows = (next(new if each else old) for each in ripe)
        return Case("SEA, gradual", prequential(rows), (Drift(8_000, 2_000),), WARM_UP)

    def turning(seed: int) -> Case:
        """A hyperplane that stands still, then turns."""
        still = synth.Hyperplane(seed=seed, n_features=5, n_drift_features=5, mag_change=0.0, noise_percentage=0.05)
        moved = synth.Hyperplane(seed=seed, n_features=5, n_drift_features=5, mag_change=0.005, noise_percentage=0.05)
        rows = itertools.chain(itertools.islice(iter(still), 8_000), itertools.islice(iter(moved), 8_000))
        return Case("Hyperplane, incremental", prequential(rows), (Drift(8_000, 8_000),), WARM_UP)

    return {
        "SEA": chain("SEA, abrupt", lambda i, seed: synth.SEA((0, 3, 1)[i], seed=seed, noise=0.1), 3),
        "STAGGER": chain("STAGGER, recurring", lambda i, seed: synth.STAGGER((0, 1, 2, 0)[i], seed=seed), 4),
        "Agrawal": chain("Agrawal, abrupt", lambda i, seed: synth.Agrawal((0, 3, 6)[i], seed=seed), 3),
        "LED": chain("LED, abrupt", _led(synth), 2),
        "SEA gradual": blended,
        "Hyperplane": turning,
    }


def _led(synth: Any) -> Callable[[int, int], Any]:
    return lambda i, seed: synth.LEDDrift(seed=seed, noise_percentage=0.1, n_drift_features=(0, 7)[i])


KNOWN: dict[str, tuple[Drift, ...] | None] = {
    "elec2": None,
    "noaa_weather": None,
    "insects_gradual_balanced": (Drift(14_028, 1_000),),
    "sea_50k": tuple(Drift(12_500 * i) for i in (1, 2, 3)),
    "lobo_sine_0123_abrupto": tuple(Drift(10_000 * i) for i in (1, 2, 3)),
    "lobo_mixed_0101_abrupto": tuple(Drift(10_000 * i) for i in (1, 2, 3)),
    "lobo_stagger_0120_abrupto": tuple(Drift(10_000 * i) for i in (1, 2, 3)),
    "lobo_sea_0123_gradual_noise_0.2": tuple(Drift(10_000 * i + 333 * (i - 1), 1_000) for i in (1, 2, 3)),
}
"""What is known of the drift in the folder's streams; where nothing is known of the errors, alarms are only counted."""


def stored(path: Path, most: int | None = None) -> Case:
    """The prequential errors on a stream of a Parquet file, whose last column is the label."""
    frame = pl.read_parquet(path)
    if most is not None:
        frame = frame.head(most)
    names = frame.columns[:-1]
    features = frame.select(names).to_dicts()
    labels = frame[frame.columns[-1]].to_list()
    known = KNOWN[path.stem]
    drifts = None if known is None else tuple(drift for drift in known if drift.start < len(labels))
    return Case(path.stem, prequential(zip(features, labels, strict=True)), drifts, WARM_UP)
