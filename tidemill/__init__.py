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
from tidemill.processors.adaptation.classifier import AdaptiveClassifier
from tidemill.processors.drift.declaration import (
    Drift,
    concept_drift,
    data_drift,
    estimated_performance,
    group_fairness,
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
from tidemill.processors.retraining import Retrain
from tidemill.processors.rollout.declaration import Rollout
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
from tidemill.processors.sanity_check.private_fields import hashed
from tidemill.processors.training.candidates import Candidate, choice, integer, log_uniform, uniform
from tidemill.processors.training.gates.declaration import Fairness, Gates
from tidemill.processors.training.privacy import DifferentialPrivacy
from tidemill.processors.training.selection import decayed, last_rows, since, stratified
from tidemill.results import Alert, Outcome, Prediction, Rejection, RetrainTrigger, TrainingJob
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
    "AdaptiveClassifier",
    "Alert",
    "Annotators",
    "BrokerError",
    "Candidate",
    "Client",
    "Contract",
    "DeclarationError",
    "DifferentialPrivacy",
    "Drift",
    "EncodeError",
    "Events",
    "Fairness",
    "Gates",
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
    "Retrain",
    "RetrainTrigger",
    "Rollout",
    "SchemaError",
    "StreamError",
    "Subscription",
    "TidemillError",
    "TrainingJob",
    "between",
    "check",
    "choice",
    "concept_drift",
    "count",
    "data_drift",
    "decayed",
    "decayed_mean",
    "distinct",
    "estimated_performance",
    "expression",
    "fields",
    "file_table",
    "first",
    "group_fairness",
    "hashed",
    "integer",
    "last",
    "last_rows",
    "log_uniform",
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
    "since",
    "std",
    "stratified",
    "sum",
    "testing",
    "time_since_last",
    "topic_table",
    "uniform",
    "unique",
    "window",
]
