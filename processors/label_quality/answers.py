"""What each annotator last said of each event."""

import polars as pl

EVENT, ANNOTATOR, LABEL = "event_id", "annotator", "label"
CONFIDENCE, TIME, REVISION, GUIDELINES = "confidence", "time", "revision", "guidelines_version"
UNNAMED = ""
"""The annotator of labels that name none."""


def last_answers(labels: pl.DataFrame) -> pl.DataFrame:
    """Each annotator's last label of each event, by event and annotator.

    `labels` has the columns of this module, in the order of the log. The last label is that with the highest revision,
    and of several with the same one that which stands last. A label without a revision has revision 0; one that is
    null, or names no event, says nothing. A label without a confidence is sure; NaN is no confidence at all.

    >>> frame = pl.DataFrame({
    ...     "event_id": ["a", "a", "a"], "annotator": ["ada", "ada", "bo"], "label": [True, False, True],
    ...     "confidence": [None, 0.5, None], "time": [1, 2, 3], "revision": [None, None, None]},
    ...     schema_overrides={"confidence": pl.Float64, "revision": pl.Int64})
    >>> last_answers(frame).select("annotator", "label", "confidence").rows()
    [('ada', False, 0.5), ('bo', True, 1.0)]
    """
    return (
        labels.drop_nulls([EVENT, LABEL])
        .with_columns(
            pl.col(ANNOTATOR).fill_null(UNNAMED),
            pl.col(REVISION).fill_null(0),
            pl.col(CONFIDENCE).fill_null(1.0).fill_nan(0.0).clip(0.0, 1.0),
        )
        .sort(REVISION, maintain_order=True)
        .unique([EVENT, ANNOTATOR], keep="last", maintain_order=True)
        .sort(EVENT, ANNOTATOR)
    )
