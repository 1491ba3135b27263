"""What several annotators have decided, applied to rows to learn from: the same for every training."""

import polars as pl
import pyarrow as pa

from tidemill.processors.frames import to_polars
from tidemill.processors.training.columns import EVENT_ID, KNOWN, LABEL, LABEL_TIME, ORDER
from tidemill.processors.training.preparation import Cleaned

DISPUTED = "disputed_"
"""Before the reason of a dispute, in counts of rows that were left out."""
_COLUMNS = (EVENT_ID, LABEL, "dispute", "time")


def decisions(decided: pl.DataFrame) -> pa.Table:
    """What rows need of what `label_quality.assess` decided: `event_id`, `label`, `dispute`, `time` in microseconds."""
    return decided.select(_COLUMNS).sort(EVENT_ID).to_arrow()


def settle(rows: pa.Table, decided: pa.Table) -> Cleaned:
    """Give rows the label that was decided, and leave out those of events in dispute, counted by why.

    `rows` have `event_id` and `label`; `decided` is as from `decisions`. Rows of other events stay as they are. Where
    rows say when their label was known, it was not before the last label that the decision is made of.

    >>> rows = pa.table({"event_id": ["a", "b", "c"], "label": [1, 0, 1]})
    >>> decided = pa.table({"event_id": ["a", "b"], "label": [0, None], "dispute": [None, "tie"], "time": [7, 8]})
    >>> made = settle(rows, decided)
    >>> made.rows.to_pylist(), made.dropped
    ([{'event_id': 'a', 'label': 0}, {'event_id': 'c', 'label': 1}], {'disputed_tie': 1})
    """
    frame, told = to_polars(rows), to_polars(decided)
    told = told.select(
        EVENT_ID,
        pl.col(LABEL).cast(frame.schema[LABEL]).alias("@label"),
        pl.col("dispute").cast(pl.String).alias("@dispute"),
        pl.col("time").cast(pl.Int64).alias("@time"),
    )
    both = frame.join(told, on=EVENT_ID, how="left", maintain_order="left")
    counts = both["@dispute"].drop_nulls().value_counts().sort("@dispute").iter_rows()
    dropped = {f"{DISPUTED}{why}": int(count) for why, count in counts}
    kept = both.filter(pl.col("@dispute").is_null()).with_columns(pl.coalesce("@label", LABEL).alias(LABEL))
    if LABEL_TIME in frame.columns:
        later = pl.duration(microseconds=pl.col("@time") - pl.col(LABEL_TIME).dt.epoch("us"))
        later = pl.when(later > pl.duration()).then(later).otherwise(pl.duration())
        kept = kept.with_columns(
            (pl.col(name) + later).cast(frame.schema[name]).alias(name) for name in (LABEL_TIME, KNOWN)
        ).sort(ORDER)
    return Cleaned(kept.select(frame.columns).to_arrow(), dropped)
