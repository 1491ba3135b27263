"""Bringing late labels to the features of their events."""

import polars as pl
import pyarrow as pa

from tidemill.processors.frames import to_polars


def join_labels(features: pa.Table, labels: pa.Table, *, label_id: str, label: pl.Expr) -> pa.Table:
    """The features whose event has a label, with a column `label`, in the order of event time and then of the log.

    An event's last label counts; a null label says nothing. `labels` must stand in the order in which they came.
    """
    made = to_polars(labels).select(pl.col(label_id).cast(pl.String).alias("event_id"), label.alias("label"))
    return join_decided(features, made.drop_nulls("label").unique("event_id", keep="last", maintain_order=True))


def join_decided(features: pa.Table, labels: pl.DataFrame) -> pa.Table:
    """As `join_labels`, with one label per event: the columns `event_id` and `label`."""
    joined = to_polars(features).join(labels.select("event_id", "label"), on="event_id", how="inner")
    return joined.sort("event_time", "source_partition", "source_offset").to_arrow()
