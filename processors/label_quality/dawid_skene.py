"""One label per event by a model of what each annotator takes for what."""

import warnings
from dataclasses import dataclass
from typing import Any

import polars as pl

from tidemill.processors.label_quality.answers import ANNOTATOR, EVENT, LABEL
from tidemill.schemas.errors import DeclarationError

ITERATIONS = 100


@dataclass(frozen=True)
class DawidSkene:
    """What expectation maximisation found."""

    labels: pl.DataFrame
    """`event_id`, the most probable `label`, its `probability`: the smallest of several that are equally probable."""
    accuracy: dict[str, float]
    """By annotator: the probability that an answer is right, for an event drawn by the classes' estimated shares."""
    iterations: int


def dawid_skene(answers: pl.DataFrame, gold: pl.DataFrame | None = None, iterations: int = ITERATIONS) -> DawidSkene:
    """Estimate labels and the annotators' errors together (Dawid and Skene, Applied Statistics 28, 1979), by crowd-kit.

    `answers` are as from `last_answers`; labels of `gold` (`event_id`, `label`) are held fixed. Confidences have no
    part in it. It starts from the shares of the answers, and ends when the bound on the likelihood hardly rises.

    Raises:
        DeclarationError: crowd-kit is not installed.

    """
    model = _model(iterations)
    classes = answers[LABEL].unique().sort()
    if not len(classes):
        return DawidSkene(
            pl.DataFrame(schema={EVENT: pl.String, LABEL: classes.dtype, "probability": pl.Float64}), {}, 0
        )
    # Numbers instead of labels: pandas takes a column of booleans for a filter.
    codes = {EVENT: "task", ANNOTATOR: "worker"}
    data = answers.select(pl.col(EVENT, ANNOTATOR), _code(classes).alias("label")).rename(codes).to_pandas()
    known = None
    if gold is not None:
        given = gold.filter(pl.col(LABEL).is_in(classes.implode()) & pl.col(EVENT).is_in(answers[EVENT].implode()))
        if len(given):
            known = given.select(EVENT, _code(classes).alias("label")).to_pandas().set_index(EVENT)["label"]
    with warnings.catch_warnings():
        # crowd-kit says `copy=False` to pandas, which warns of it.
        warnings.simplefilter("ignore", DeprecationWarning)
        model.fit(data, known)
    probability = model.probas_.to_numpy()
    best = probability.argmax(axis=1)
    columns = model.probas_.columns.to_numpy()
    labels = pl.DataFrame(
        {
            EVENT: model.probas_.index.to_list(),
            LABEL: classes.gather(columns[best]),
            "probability": probability.max(axis=1),
        }
    ).sort(EVENT)
    return DawidSkene(labels, _accuracy(model), len(model.loss_history_))


def _code(classes: pl.Series) -> pl.Expr:
    return pl.col(LABEL).replace_strict(classes, pl.int_range(len(classes), eager=True), return_dtype=pl.Int64)


def _accuracy(model: Any) -> dict[str, float]:
    found: dict[str, float] = {}
    for (worker, label), row in model.errors_.iterrows():
        found[str(worker)] = found.get(str(worker), 0.0) + float(row[label] * model.priors_[label])
    return dict(sorted(found.items()))


def _model(iterations: int) -> Any:
    try:
        from crowdkit.aggregation.classification.dawid_skene import DawidSkene as Model
    except ImportError:
        raise DeclarationError(
            "consensus by Dawid and Skene needs crowd-kit; run: pip install 'tidemill[annotators]'"
        ) from None
    return Model(n_iter=iterations)
