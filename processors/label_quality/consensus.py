"""One label per event by weighted majority, or why there is none."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from tidemill.processors.label_quality.answers import ANNOTATOR, CONFIDENCE, EVENT, LABEL

FEW, TIE, SPLIT = "few", "tie", "split"
"""Why an event is in dispute: too few annotators, no single winner, or a winner with too small a share."""
_UNIT = 1_000_000
_VOTE = "vote"


@dataclass(frozen=True)
class DisputeRule:
    """When an event's label is in dispute: fewer annotators than `least`, or the winner's share is below `agree`.

    By default two of three are enough, and one of two is not, even if that one counts a little more.
    """

    least: int = 1
    agree: float = 0.6


def consensus(
    answers: pl.DataFrame, rule: DisputeRule = DisputeRule(), weights: Mapping[str, float] | None = None
) -> pl.DataFrame:
    """The label that most say, each answer weighing its confidence times its annotator's weight, by event.

    Columns: `event_id`, `label` (null in a tie), `share` of the votes that the winner has, `annotators`, `confidence`
    (the mean of those who gave that label), `dispute` (`few`, `tie`, `split`, or null where there is none).

    `answers` are as from `last_answers`; annotators that `weights` does not name weigh 1. Votes are counted in
    millionths, so that the order of the answers has no influence, and a tie is exact.

    >>> answers = pl.DataFrame({
    ...     "event_id": ["a", "a", "a", "b", "b"], "annotator": ["ada", "bo", "cy", "ada", "bo"],
    ...     "label": [1, 1, 0, 1, 0], "confidence": [1.0, 0.5, 1.0, 0.8, 0.8]})
    >>> consensus(answers).select("event_id", "label", "share", "dispute").rows()
    [('a', 1, 0.6, None), ('b', None, 0.5, 'tie')]
    """
    weight = pl.lit(1.0)
    if weights:
        weight = pl.col(ANNOTATOR).replace_strict(weights, default=1.0, return_dtype=pl.Float64)
    sides = (
        answers.with_columns(
            (pl.col(CONFIDENCE) * weight * _UNIT).round().cast(pl.Int64).alias(_VOTE),
            (pl.col(CONFIDENCE) * _UNIT).round().cast(pl.Int64),
        )
        .group_by(EVENT, LABEL)
        .agg(pl.col(_VOTE, CONFIDENCE).sum(), pl.len().alias("annotators"))
        .sort(EVENT, _VOTE, LABEL, descending=[False, True, False])
        .with_columns(pl.col(CONFIDENCE) / pl.col("annotators") / _UNIT)
    )
    events = sides.group_by(EVENT, maintain_order=True).agg(
        pl.col(LABEL, CONFIDENCE).first(),
        pl.col(_VOTE).first(),
        pl.col(_VOTE).sum().alias("total"),
        (pl.col(_VOTE) == pl.col(_VOTE).max()).sum().alias("winners"),
        pl.col("annotators").sum().cast(pl.Int64),
    )
    tied = (pl.col("winners") > 1) | (pl.col("total") == 0)
    share = pl.when(pl.col("total") > 0).then(pl.col(_VOTE) / pl.col("total")).otherwise(0.0)
    why = (
        pl.when(pl.col("annotators") < rule.least)
        .then(pl.lit(FEW))
        .when(tied)
        .then(pl.lit(TIE))
        .when(share < rule.agree)
        .then(pl.lit(SPLIT))
        .otherwise(None)
    )
    return events.select(
        EVENT,
        pl.when(~tied).then(pl.col(LABEL)).alias(LABEL),
        share.alias("share"),
        "annotators",
        CONFIDENCE,
        why.cast(pl.String).alias("dispute"),
    )
