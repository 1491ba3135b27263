"""What gates look at: what happened, what each model says of it, and what was measured of the candidate."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.random import Generator
from numpy.typing import NDArray

from tidemill.processors.online_inference.target import Target
from tidemill.processors.training.gates.declaration import Gates
from tidemill.processors.training.gates.metrics import Answers, Floats, Metric, answered, answers, metric_named
from tidemill.processors.training.gates.resampling import generator
from tidemill.processors.training.gates.trial import Trial


@dataclass(frozen=True)
class Parity:
    """How many rows of served features were compared with a replay of the same events, and how many are equal."""

    compared: int
    equal: int


@dataclass(frozen=True)
class Examination:
    """The newest mature rows, in the order of time, and what is to be judged on them.

    `labels` are as declared (class labels, or numbers). `candidate`, `baseline` and `champion` are scores of the same
    rows: probabilities of the classes in declared order, or one column with the number. NaN stands for no answer.
    Without a `champion` the candidate would be the first model: slices are then compared with the baseline.

    `columns` has the fields of slices and sensitive fields, a value for each row. Fields in `private` are never named
    with values. `rows` are the same rows with `features` as served, `event_id`, `event_time` and `label_time`;
    `trained` those that the candidate has learnt, with the same columns and `label`; `fresh` those served since, whose
    labels are not known yet, and `fresh_scores` the candidate's scores of these: leaks show by comparing them. `trial`
    and `parity` are what was measured; what is missing is left out, and the verdict says so. `seed` is where chance
    comes from.
    """

    target: Target
    labels: NDArray[Any]
    candidate: Floats
    baseline: Floats
    champion: Floats | None = None
    gates: Gates = field(default_factory=Gates)
    columns: Mapping[str, Any] = field(default_factory=dict)
    private: Collection[str] = ()
    features: Sequence[str] = ()
    rows: pa.Table | None = None
    trained: pa.Table | None = None
    fresh: pa.Table | None = None
    fresh_scores: Floats | None = None
    trial: Trial | None = None
    parity: Parity | None = None
    seed: int = 0

    @cached_property
    def metric(self) -> Metric:
        """The metric that decides."""
        return metric_named(self.gates.metric, self.target)

    @cached_property
    def answered(self) -> NDArray[np.bool_]:
        """Rows that the candidate has answered with finite scores."""
        return answered(self.candidate)

    def of(self, scores: Floats) -> Answers:
        """A model's answers on all rows; raises ModelError for labels or shapes that do not fit."""
        return answers(self.target, self.labels, scores)

    def paired(self, other: Floats) -> tuple[Answers, Answers, NDArray[np.int64]]:
        """The candidate's and another model's answers on the rows that both have answered, and which rows these are."""
        both = np.flatnonzero(self.answered & answered(other))
        return self.of(self.candidate).take(both), self.of(other).take(both), both

    def rng(self, *names: str) -> Generator:
        """Chance for what is named."""
        return generator(self.seed, *names)
