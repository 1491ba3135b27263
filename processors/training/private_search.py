"""What stands in the place of a search where training is private: one fit, since each one costs privacy."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from numpy.random import RandomState

from tidemill.processors.frames import to_model_frame
from tidemill.processors.online_inference.scorer import Scorer
from tidemill.processors.online_inference.target import Target
from tidemill.processors.training.candidates import BASELINE, DECLARED
from tidemill.processors.training.columns import WEIGHT
from tidemill.processors.training.fitting import copy_of
from tidemill.processors.training.privacy import DifferentialPrivacy
from tidemill.processors.training.private_models import fit_private
from tidemill.processors.training.scoring import metric_of
from tidemill.processors.training.search import LEAST_ROWS, Searched, Trial, baseline_of, labels_of
from tidemill.schemas.errors import ModelError


def private_search(
    estimator: Any,
    privacy: DifferentialPrivacy,
    features: Sequence[str],
    target: Target,
    train: pa.Table,
    validation: pa.Table,
    noise: RandomState,
    *,
    metric: str | None = None,
) -> Searched:
    """Fit once on `train` with `privacy`, and measure on `validation`; as `search` answers, but without a choice.

    The model alone is private: figures, the baseline and the profiles of training are of the data as they are.
    `noise` must come from the machine's entropy, see `fit_private`. What it spends is the caller's to keep
    (`privacy.require_budget`), before this is called.

    Raises:
        ModelError: there is too little to learn from, rows have weights, or diffprivlib is not installed.
        DeclarationError: the estimator is not offered, or the metric is not for this target.

    """
    names, figure = list(features), metric_of(metric, target)
    if train.num_rows < LEAST_ROWS:
        raise ModelError(f"expected labelled events to train on, found {train.num_rows}; widen the stretch")
    if WEIGHT in train.column_names:
        raise ModelError("the rows have weights, and private training takes none; take a data set without")
    frame, labels = to_model_frame(train, names), labels_of(train)
    model = fit_private(estimator, privacy, frame, labels, target.classes, noise)
    baseline = copy_of(baseline_of(target)).fit(frame, labels)
    scores: list[float] = []
    for each in (baseline, model):
        if not validation.num_rows:
            scores.append(float("nan"))
            continue
        said, failures = Scorer(each, target).score(to_model_frame(validation, names))
        if failures:
            raise ModelError(f"the fitted model fails on {len(failures)} events: {failures[0].message}")
        scores.append(figure.figure(target, labels_of(validation), said))
    trials = tuple(
        Trial(number, name, {}, "complete", score, (score,))
        for number, name, score in zip((-1, 0), (BASELINE, DECLARED), scores, strict=True)
    )
    return Searched(DECLARED, {}, model, baseline, trials, figure.name, scores[1], scores[0])
