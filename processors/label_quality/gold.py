"""Annotators against gold questions: events whose label is known."""

import math

import polars as pl

from tidemill.processors.label_quality.answers import ANNOTATOR, EVENT, LABEL

_Z = 1.959963984540054
"""The normal quantile of a two-sided interval of 95 percent."""


def wilson_interval(right: int, count: int, z: float = _Z) -> tuple[float, float]:
    """The score interval of a share (Wilson, JASA 1927), by default of 95 percent; [0, 1] where nothing was counted.

    >>> [round(bound, 4) for bound in wilson_interval(8, 10)]
    [0.4902, 0.9433]
    """
    if not count:
        return 0.0, 1.0
    share, square = right / count, z * z
    centre = (share + square / (2 * count)) / (1 + square / count)
    half = z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count * count))
    # At the ends the bound is the share itself, which rounding must not pass.
    return (0.0 if right == 0 else max(0.0, centre - half)), (1.0 if right == count else min(1.0, centre + half))


def gold_accuracy(answers: pl.DataFrame, gold: pl.DataFrame) -> pl.DataFrame:
    """Of each annotator who answered gold questions: how many, how many right, and the accuracy with its interval.

    `gold` has `event_id` and `label`. Columns: `annotator`, `gold`, `gold_right`, `gold_accuracy`, `gold_low`,
    `gold_high`; the interval is Wilson's of 95 percent.
    """
    asked = answers.join(gold.select(EVENT, pl.col(LABEL).alias("known")), on=EVENT, how="inner")
    found = (
        asked.group_by(ANNOTATOR)
        .agg(
            pl.len().cast(pl.Int64).alias("gold"),
            (pl.col(LABEL) == pl.col("known")).sum().cast(pl.Int64).alias("gold_right"),
        )
        .sort(ANNOTATOR)
    )
    bounds = [wilson_interval(right, count) for count, right in found.select("gold", "gold_right").iter_rows()]
    return found.with_columns(
        (pl.col("gold_right") / pl.col("gold")).alias("gold_accuracy"),
        pl.Series("gold_low", [low for low, _ in bounds], pl.Float64),
        pl.Series("gold_high", [high for _, high in bounds], pl.Float64),
    )
