"""How much each annotator counts: by gold questions, and by how often the others agree."""

import polars as pl

from tidemill.processors.label_quality.answers import ANNOTATOR, EVENT, LABEL

_MOST_PEERS = 20
"""How many gold questions the others' agreement is worth at most: they may be wrong together."""
_POOLED = 2
"""How many answers of the average annotator each one is credited with, so that a few do not decide."""


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


def annotator_weights(gold: pl.DataFrame, peers: pl.DataFrame, classes: int) -> dict[str, float]:
    """A weight in [0, 1] of every annotator of whom anything is known: estimated accuracy above that of guessing.

    The accuracy is that on gold questions (`gold_accuracy`), with agreement among peers (`peer_agreement`) counted as
    20 gold questions at most, and two answers of the average annotator added. A guess among `classes` labels weighs
    nothing: weight = (accuracy - 1 / classes) / (1 - 1 / classes), and 0 below.

    >>> gold = pl.DataFrame({"annotator": ["ada", "bo"], "gold": [20, 20], "gold_right": [20, 10]})
    >>> peers = pl.DataFrame(schema={"annotator": pl.String, "peers": pl.Int64, "peers_agree": pl.Int64})
    >>> {name: round(weight, 2) for name, weight in annotator_weights(gold, peers, 2).items()}
    {'ada': 0.95, 'bo': 0.05}
    """
    known = (
        gold.select(ANNOTATOR, "gold", "gold_right")
        .join(peers, on=ANNOTATOR, how="full", coalesce=True)
        .fill_null(0)
        .sort(ANNOTATOR)
    )
    evidence = []
    for name, asked, right, met, agreed in known.iter_rows():
        worth = min(met, _MOST_PEERS)
        evidence.append((name, asked + worth, right + (worth * agreed / met if met else 0.0)))
    answered = sum(count for _, count, _ in evidence)
    average = sum(right for _, _, right in evidence) / answered if answered else 1.0
    chance = 1 / max(classes, 2)
    weights = {}
    for name, count, right in evidence:
        accuracy = (right + _POOLED * average) / (count + _POOLED)
        weights[name] = max(0.0, (accuracy - chance) / (1 - chance))
    return weights
