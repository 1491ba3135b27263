"""How much annotators agree beyond chance."""

import polars as pl

from tidemill.processors.label_quality.answers import ANNOTATOR, EVENT, LABEL


def krippendorff_alpha(answers: pl.DataFrame) -> float | None:
    """Krippendorff's alpha for nominal labels: 1 is perfect agreement, 0 what chance would give, below 0 worse.

    Annotators may have labelled any of the events; events with one answer say nothing. None where alpha is not defined:
    no event has two answers, or all answers to those that have are the same. `answers` has a row per event and
    annotator, as from `last_answers`. After Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), part C.

    crowd-kit's is not used, although it has the same values: it raises ZeroDivisionError where no event has two
    answers, calls agreement on a single class perfect, compares pairs of labels in Python, and takes seconds to import.

    >>> krippendorff_alpha(pl.DataFrame({"event_id": ["a", "a", "b", "b"], "label": [1, 1, 0, 1]}))
    0.0
    """
    cells = answers.group_by(EVENT, LABEL).agg(pl.len().cast(pl.Int64).alias("n"))
    cells = cells.with_columns(pl.col("n").sum().over(EVENT).alias("m")).filter(pl.col("m") > 1)
    total = int(cells["n"].sum())
    by_label = cells.group_by(LABEL).agg(pl.col("n").sum())["n"]
    expected = total * total - int((by_label * by_label).sum())
    if not expected:
        return None
    # Ordered pairs of different labels, by how many answers their event has: whole numbers, whatever the order of rows.
    pairs = (
        cells.group_by("m")
        .agg(pl.col("n").sum().alias("answers"), (pl.col("n") * pl.col("n")).sum().alias("same"))
        .sort("m")
    )
    observed = sum((row["m"] * row["answers"] - row["same"]) / (row["m"] - 1) for row in pairs.iter_rows(named=True))
    return 1.0 - (total - 1) * float(observed) / expected


def disagreement(answers: pl.DataFrame) -> pl.DataFrame:
    """By `annotator`: the share of the others' answers to the same events that are different; none who met nobody."""
    same = pl.len().over(EVENT, LABEL).cast(pl.Int64) - 1
    others = pl.len().over(EVENT).cast(pl.Int64) - 1
    return (
        answers.select(ANNOTATOR, same.alias("same"), others.alias("others"))
        .group_by(ANNOTATOR)
        .agg(pl.col("same", "others").sum())
        .filter(pl.col("others") > 0)
        .select(ANNOTATOR, (1 - pl.col("same") / pl.col("others")).alias("disagreement"))
        .sort(ANNOTATOR)
    )
