"""All that can be said of a stretch of labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from tidemill.processors.label_quality.agreement import disagreement, krippendorff_alpha
from tidemill.processors.label_quality.answers import ANNOTATOR, EVENT, GUIDELINES, LABEL, TIME, last_answers
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
    """A row each: `annotator`, `labels`, what `gold_accuracy` has (null without any), `disagreement` with the others'
    answers (null where there are none), `weight`."""
    alpha: float | None
    """Krippendorff's; None where it is not defined."""
    gold: pl.DataFrame
    """`event_id` and `label` of the events whose label is known, from a list or from experts."""

    @property
    def disputed(self) -> pl.DataFrame:
        """The events that nothing should be learnt from."""
        return self.decided.filter(pl.col("dispute").is_not_null())

    @property
    def versions(self) -> list[tuple[str | None, int]]:
        """How many answers say that they follow which version of the guidelines; None where they say nothing."""
        counted = self.answers.group_by(GUIDELINES).agg(pl.len()).sort(GUIDELINES)
        return [(version, int(count)) for version, count in counted.iter_rows()]

    def differing(self, labels: pl.DataFrame) -> int:
        """Of how many events `labels` (`event_id`, `label`) say something else than the majority, where it is one."""
        both = self.decided.join(labels.select(EVENT, pl.col(LABEL).alias("other")), on=EVENT, how="inner")
        return int((both[LABEL] != both["other"]).sum())


def assess(
    labels: pl.DataFrame, gold: pl.DataFrame, rule: DisputeRule, classes: int, experts: Sequence[str] = ()
) -> Assessment:
    """Judge labels, given as `last_answers` takes them, by each other and by `gold` (`event_id`, `label`).

    What all `experts` who labelled an event say of it is gold as well; they are not themselves measured by gold.
    """
    answers = last_answers(labels)
    expert = pl.col(ANNOTATOR).is_in(list(experts))
    gold = _with_experts(gold, answers.filter(expert))
    accuracy, peers = gold_accuracy(answers.filter(~expert), gold), peer_agreement(answers)
    counted = answers.group_by(ANNOTATOR).agg(pl.len().cast(pl.Int64).alias("labels")).sort(ANNOTATOR)
    weights = annotator_weights(counted[ANNOTATOR].to_list(), accuracy, peers, classes)
    last = answers.group_by(EVENT).agg(pl.col(TIME).max())
    decided = _known(consensus(answers, rule, weights), gold).join(last, on=EVENT, how="left").sort(EVENT)
    annotators = (
        counted.join(accuracy, on=ANNOTATOR, how="left")
        .join(disagreement(answers), on=ANNOTATOR, how="left")
        .sort(ANNOTATOR)
        .with_columns(pl.Series("weight", list(weights.values()), pl.Float64))
    )
    return Assessment(answers, decided, annotators, krippendorff_alpha(answers), gold)


def _with_experts(gold: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """The list comes first; what experts do not agree on is not known."""
    said = answers.group_by(EVENT).agg(pl.col(LABEL).first(), pl.col(LABEL).n_unique().alias("different"))
    fresh = said.filter(pl.col("different") == 1).join(gold, on=EVENT, how="anti")
    return pl.concat([gold.select(EVENT, LABEL), fresh.select(EVENT, LABEL)]).sort(EVENT)


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
