from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from tidemill.processors.online_inference import Target
from tidemill.processors.training.gates import Examination, Gates, Parity, Trial

CLASSES = Target((False, True))
GOOD = Trial(
    load_ms=40,
    row_p99_ms=2,
    batch_p99_ms=30,
    batch_rows=10_000,
    memory_mb=50,
    scored=2_000,
    extremes=100,
    compared=4_000,
)


def logistic(strength):
    second = 1 / (1 + np.exp(-strength))
    return np.column_stack([1 - second, second])


class World:
    """Events with one feature that tells something, one that tells nothing, and groups."""

    def __init__(self, rows=2_000, seed=0, strength=1.5):
        self.rng = np.random.default_rng(seed)
        self.x, self.noise = self.rng.normal(size=rows), self.rng.normal(size=rows)
        self.truth = strength * self.x
        self.labels = self.rng.random(rows) < logistic(self.truth)[:, 1]
        self.origin = self.rng.choice(["EWR", "JFK", "LGA"], rows)
        self.sex = self.rng.choice(["f", "m"], rows)

    def table(self, start=0, **columns):
        number = np.arange(start, start + len(self.x))
        given = {"event_id": [f"e{n}" for n in number], "event_time": number, "label_time": number + 10}
        given |= {"x": self.x, "noise": self.noise, "label": self.labels}
        return pa.table(given | columns)

    def examination(self, **changes):
        """A good candidate against a champion with half of its insight."""
        learnt = World(len(self.x), seed=1_000)
        given = Examination(
            CLASSES,
            self.labels,
            candidate=logistic(self.truth),
            baseline=np.tile([1 - self.labels.mean(), self.labels.mean()], (len(self.x), 1)),
            champion=logistic(0.3 * self.truth),
            gates=Gates(resamples=500),
            columns={"origin": self.origin, "sex": self.sex},
            features=("x", "noise"),
            rows=self.table(start=10_000),
            trained=learnt.table(),
            trial=GOOD,
            parity=Parity(500, 500),
        )
        return replace(given, **changes)


@pytest.fixture
def world():
    return World()


@pytest.fixture
def make_world():
    return World


@pytest.fixture
def good_trial():
    return GOOD


@pytest.fixture
def sigmoid():
    return logistic
