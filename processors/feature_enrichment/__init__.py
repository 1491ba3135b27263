"""Feature enrichment: expressions, lookups in reference tables, and windows over a key's earlier events."""

from tidemill.processors.feature_enrichment.aggregates import (
    Aggregate,
    count,
    decayed_mean,
    distinct,
    first,
    last,
    max,  # noqa: A004 - the names that SQL has for them
    mean,
    min,  # noqa: A004
    std,
    sum,  # noqa: A004
    time_since_last,
)
from tidemill.processors.feature_enrichment.enrichment import FeatureEnrichment
from tidemill.processors.feature_enrichment.expression import Expression, Fields, expression, fields
from tidemill.processors.feature_enrichment.lookup import (
    FileTable,
    Lookup,
    TopicTable,
    file_table,
    lookup,
    topic_table,
)
from tidemill.processors.feature_enrichment.lookup_table import ReferenceTable
from tidemill.processors.feature_enrichment.plan import Feature
from tidemill.processors.feature_enrichment.window import Window, window

__all__ = [
    "Aggregate",
    "Expression",
    "Feature",
    "FeatureEnrichment",
    "Fields",
    "FileTable",
    "Lookup",
    "ReferenceTable",
    "TopicTable",
    "Window",
    "count",
    "decayed_mean",
    "distinct",
    "expression",
    "fields",
    "file_table",
    "first",
    "last",
    "lookup",
    "max",
    "mean",
    "min",
    "std",
    "sum",
    "time_since_last",
    "topic_table",
    "window",
]
