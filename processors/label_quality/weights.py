"""How much each annotator counts: by gold questions, and by how often the others agree."""

from collections.abc import Sequence

import polars as pl

from tidemill.processors.label_quality.answers import ANNOTATOR, EVENT, LABEL

_MOST_PEERS = 20
"""How many gold questions the others' agreement is worth at most: they may be wrong together."""
_CREDIT, _CREDITED_RIGHT = 10, 9
"""Answers that each annotator is credited with, and how many of them are right: a few questions do not decide."""


def peer_agreement(answers: pl.DataFrame) -> pl.DataFrame:
    """How often the others' majority says what an annotator says: `annotator`, `peers`, `peers_agree`.

    `peers` counts the events of which the others, without this annotator's answer, have a single most frequent label
    that two of them gave: if one says this and one says that, either may be wrong.
    """
    sides = answers.group_by(EVENT, LABEL).agg(pl.len().cast(pl.Int64).alias("n"))
    others = (
        answers.select(EVENT, ANNOTATOR, pl.col(LABEL).alias("own"))
        .join(sides, on=EVENT, how="inner")
        .with_columns(pl.col("n") - (pl.col(LABEL) == pl.col("own")))
        .group_by(EVENT, ANNOTATOR)
        .agg(
            pl.col("n").max().alias("top"),
            (pl.col("n") == pl.col("n").max()).sum().alias("winners"),
            ((pl.col("n") == pl.col("n").max()) & (pl.col(LABEL) == pl.col("own"))).any().alias("agree"),
        )
        .filter((pl.col("top") > 1) & (pl.col("winners") == 1))
    )
    return (
        others.group_by(ANNOTATOR)
        .agg(pl.len().cast(pl.Int64).alias("peers"), pl.col("agree").sum().cast(pl.Int64).alias("peers_agree"))
        .sort(ANNOTATOR)
    )


def annotator_weights(
    annotators: Sequence[str], gold: pl.DataFrame, peers: pl.DataFrame, classes: int
) -> dict[str, float]:
    """A weight in [0, 1] of every annotator: estimated accuracy above that of guessing.

    The accuracy is that on gold questions (`gold_accuracy`), with agreement among peers (`peer_agreement`) counted as
    20 gold questions at most; who was not tested is taken to be right nine times in ten, which counts as ten questions.
    A guess among `classes` labels weighs nothing: weight = (accuracy - 1 / classes) / (1 - 1 / classes), and 0 below.

    >>> gold = pl.DataFrame({"annotator": ["ada", "bo"], "gold": [90, 90], "gold_right": [90, 45]})
    >>> peers = pl.DataFrame(schema={"annotator": pl.String, "peers": pl.Int64, "peers_agree": pl.Int64})
    >>> {name: round(weight, 2) for name, weight in annotator_weights(["ada", "bo", "cy"], gold, peers, 2).items()}
    {'ada': 0.98, 'bo': 0.08, 'cy': 0.8}
    """
    known = {
        name: (asked, right, met, agreed)
        for name, asked, right, met, agreed in gold.select(ANNOTATOR, "gold", "gold_right")
        .join(peers, on=ANNOTATOR, how="full", coalesce=True)
        .fill_null(0)
        .iter_rows()
    }
    chance = 1 / max(classes, 2)
    weights = {}
    for name in annotators:
        asked, right, met, agreed = known.get(name, (0, 0, 0, 0))
        worth = min(met, _MOST_PEERS)
        agree = worth * agreed / met if met else 0.0
        accuracy = (right + agree + _CREDITED_RIGHT) / (asked + worth + _CREDIT)
        weights[name] = max(0.0, (accuracy - chance) / (1 - chance))
    return weights
