"""All that can be said of a stretch of labels."""

from dataclasses import dataclass

import polars as pl

from tidemill.processors.label_quality.agreement import krippendorff_alpha
from tidemill.processors.label_quality.answers import ANNOTATOR, EVENT, LABEL, TIME, last_answers
from tidemill.processors.label_quality.consensus import DisputeRule, consensus
from tidemill.processors.label_quality.gold import gold_accuracy
from tidemill.processors.label_quality.weights import annotator_weights, peer_agreement


@dataclass(frozen=True)
class Assessment:
    """What a stretch of labels is worth."""

    answers: pl.DataFrame
    """Each annotator's last label of each event."""
    decided: pl.DataFrame
    """As from `consensus`, and `time`: that of the event's last label. An event with a known label has that one."""
    annotators: pl.DataFrame
    """A row each: `annotator`, `labels`, those of `gold_accuracy` (null without gold), `disagreement`, `weight`."""
    alpha: float | None

    @property
    def disputed(self) -> pl.DataFrame:
        """The events that nothing should be learnt from."""
        return self.decided.filter(pl.col("dispute").is_not_null())


def assess(labels: pl.DataFrame, gold: pl.DataFrame, rule: DisputeRule, classes: int) -> Assessment:
    """Judge labels, given as `last_answers` takes them, by each other and by `gold` (`event_id`, `label`)."""
    answers = last_answers(labels)
    accuracy, peers = gold_accuracy(answers, gold), peer_agreement(answers)
    weights = annotator_weights(accuracy, peers, classes)
    last = answers.group_by(EVENT).agg(pl.col(TIME).max())
    decided = _known(consensus(answers, rule, weights), gold).join(last, on=EVENT, how="left").sort(EVENT)
    counted = answers.group_by(ANNOTATOR).agg(pl.len().cast(pl.Int64).alias("labels")).sort(ANNOTATOR)
    weight = pl.col(ANNOTATOR).replace_strict(
        list(weights), list(weights.values()), default=1.0, return_dtype=pl.Float64
    )
    annotators = (
        counted.join(accuracy, on=ANNOTATOR, how="left")
        .join(peers, on=ANNOTATOR, how="left")
        .with_columns((1 - pl.col("peers_agree") / pl.col("peers")).alias("disagreement"), weight.alias("weight"))
        .drop("peers", "peers_agree")
        .sort(ANNOTATOR)
    )
    return Assessment(answers, decided, annotators, krippendorff_alpha(answers))


def _known(decided: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
    """What is known is not disputed, whatever was answered."""
    both = decided.join(gold.select(EVENT, pl.col(LABEL).alias("known")), on=EVENT, how="left")
    known = pl.col("known").is_not_null()
    return both.with_columns(
        pl.coalesce("known", LABEL).alias(LABEL),
        pl.when(known).then(1.0).otherwise(pl.col("share")).alias("share"),
        pl.when(known).then(1.0).otherwise(pl.col("confidence")).alias("confidence"),
        pl.when(~known).then(pl.col("dispute")).alias("dispute"),
    ).drop("known")
