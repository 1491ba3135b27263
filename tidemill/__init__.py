"""Tidemill: event-driven streaming machine learning on Apache Kafka.

Declare a pipeline, run it with `tidemill run FILE`, talk to it with `Client`.
"""

from importlib.metadata import version as _version

from tidemill import testing
from tidemill.access import Access
from tidemill.annotators import Annotators
from tidemill.client import Client, Subscription
from tidemill.declaration import Events, Labels, Model, Profiles
from tidemill.pipeline import Pipeline
from tidemill.processors.drift.declaration import (
    Drift,
    concept_drift,
    data_drift,
    estimated_performance,
    missing_rate,
    prediction_drift,
    rejection_rate,
)
from tidemill.processors.feature_enrichment import (
    count,
    decayed_mean,
    distinct,
    expression,
    fields,
    file_table,
    first,
    last,
    lookup,
    max,  # noqa: A004 - the names that SQL has for them
    mean,
    min,  # noqa: A004
    std,
    sum,  # noqa: A004
    time_since_last,
    topic_table,
    window,
)
from tidemill.processors.learning import Learning
from tidemill.processors.sanity_check import (
    between,
    check,
    matches,
    not_in_future,
    not_late,
    not_older_than,
    one_of,
    present,
    unique,
)
from tidemill.results import Alert, Outcome, Prediction, Rejection
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import (
    BrokerError,
    DeclarationError,
    EncodeError,
    IncompatibleSchema,
    ModelError,
    SchemaError,
    StreamError,
    TidemillError,
)

__version__ = _version("tidemill")

__all__ = [
    "Access",
    "Alert",
    "Annotators",
    "BrokerError",
    "Client",
    "Contract",
    "DeclarationError",
    "Drift",
    "EncodeError",
    "Events",
    "IncompatibleSchema",
    "Labels",
    "Learning",
    "Model",
    "ModelError",
    "Outcome",
    "Pipeline",
    "Prediction",
    "Profiles",
    "Rejection",
    "SchemaError",
    "StreamError",
    "Subscription",
    "TidemillError",
    "between",
    "check",
    "concept_drift",
    "count",
    "data_drift",
    "decayed_mean",
    "distinct",
    "estimated_performance",
    "expression",
    "fields",
    "file_table",
    "first",
    "last",
    "lookup",
    "matches",
    "max",
    "mean",
    "min",
    "missing_rate",
    "not_in_future",
    "not_late",
    "not_older_than",
    "one_of",
    "prediction_drift",
    "present",
    "rejection_rate",
    "std",
    "sum",
    "testing",
    "time_since_last",
    "topic_table",
    "unique",
    "window",
]
