"""Training the declared model on what serving computed, and announcing it."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa

from tidemill.declaration import Labels, Model
from tidemill.labelling import decided_labels
from tidemill.pipeline import Pipeline
from tidemill.processors.drift import write_reference
from tidemill.processors.frames import to_polars
from tidemill.processors.online_inference import dump_model
from tidemill.processors.training import Training, fit, join_decided, join_labels
from tidemill.processors.training.decisions import settle
from tidemill.processors.training.offsets import offset_records
from tidemill.schemas.errors import DeclarationError, ModelError
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.history import read_topic
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.models import announce
from tidemill.streams.ports import Sender
from tidemill.streams.rollout_log import RolloutLog
from tidemill.streams.schema_topic import SchemaTopic

HOLDOUT = 0.2
DISPUTED = "disputed_events"
"""Beside the metrics of a model: how many events of its stretch were left out, because their labels are in dispute."""
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Stretch:
    """Event times: train on [since, until), evaluate on [until, evaluate_until); `until` None keeps the last fifth."""

    since: datetime | None = None
    until: datetime | None = None
    evaluate_until: datetime | None = None


def train(
    pipeline: Pipeline,
    connection: Connection,
    stretch: Stretch,
    *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    force: bool = False,
    progress: Progress = lambda n: None,  # noqa: ARG005
    registry: SchemaSource | None = None,
) -> dict[str, Any]:
    """Fit the pipeline's model on its served features, evaluate it on the events after, and announce it.

    It is announced as champion; where a rollout is declared and there is a champion, as a shadow. A `registry` finds
    the schemas of messages in Confluent's framing. Returns the announcement.

    Raises:
        DeclarationError: the pipeline has no model or does not publish its features, or the stretch is not one.
        ModelError: there is too little to learn from, or the model is no better than the base rate (unless `force`).

    """
    model, _ = _declared(pipeline)
    if model.privacy is not None:
        raise DeclarationError(
            f"pipeline {pipeline.name} trains with differential privacy, of which training jobs keep the account: ask"
            " for a model with `tidemill retrain`"
        )
    contract = pipeline.labels_contract
    assert contract is not None
    plan = pipeline.plan()
    plan.require_published("features", "training")
    reader = KafkaReader(connection)
    schemas = SchemaTopic(Follower(connection, plan.topic("schemas")), registry)
    features = read_topic(
        plan.topic("features"),
        plan.contracts["features"],
        reader,
        schemas,
        time="event_time",
        since=stretch.since,
        until=stretch.evaluate_until,
        progress=progress,
    )
    arrived = read_topic(plan.topic("labels"), contract, reader, schemas, progress=progress)
    reader.close()
    sender = Publisher(connection, "tidemill-train")
    rollouts = RolloutLog(plan, connection)
    return learn(pipeline, features, arrived, stretch, sender, rollouts, now=now, force=force)


def learn(
    pipeline: Pipeline,
    features: pa.Table,
    arrived: pa.Table,
    stretch: Stretch,
    sender: Sender,
    rollouts: RolloutLog,
    *,
    now: Callable[[], datetime],
    force: bool = False,
) -> dict[str, Any]:
    """As `train`, with the stretch's features and the labels that have arrived already read."""
    model, labels = _declared(pipeline)
    # At least once may have written an event's features twice, with the same bytes.
    once = (
        to_polars(features).unique(["source_partition", "source_offset"], keep="first", maintain_order=True).to_arrow()
    )
    decided = decided_labels(pipeline, arrived)
    if decided is not None:
        settled = settle(join_decided(once, to_polars(decided)), decided)
        left_out, rows = {DISPUTED: float(sum(settled.dropped.values()))}, settled.rows
    else:
        left_out, rows = {}, join_labels(once, arrived, label_id=labels.id, label=labels.label)
    train_rows, test_rows = _split(rows, stretch.until)
    target = pipeline.target()
    slices = () if pipeline.profiles is None else tuple(pipeline.profiles.slices)
    features_seen = list(model.features)
    made = fit(model.estimator, features_seen, target, train_rows, test_rows, pipeline=pipeline.name, slices=slices)
    if not force:
        _require_better(made)
    event = {
        "estimator": type(made.model).__name__,
        "features": list(model.features),
        "classes": [str(label) for label in target.classes],
        "trained_from": train_rows["event_time"][0].as_py(),
        "trained_until": train_rows["event_time"][-1].as_py(),
        "training_offsets": offset_records(train_rows),
        "training_rows": made.training_rows,
        "evaluation_rows": made.evaluation_rows,
        "metrics": {**made.metrics, **left_out},
    }
    if pipeline.rollout is not None and rollouts.rollout().champion is not None:
        # Somebody declared how a new model takes over: one that was trained by hand is no better known than others.
        event |= {"status": "shadow", "reason": "was trained by hand, and is compared with the champion"}
    artefact = dump_model(made.model).with_reference(write_reference(made.profiles))
    return announce(pipeline.plan(), artefact, event, now(), sender, rollouts)


def _declared(pipeline: Pipeline) -> tuple[Model, Labels]:
    if pipeline.model is None or pipeline.labels is None:
        raise DeclarationError(
            f"pipeline {pipeline.name} declares no model: add model=tm.Model(...) and labels=tm.Labels(...)"
        )
    return pipeline.model, pipeline.labels


def _split(rows: pa.Table, until: datetime | None) -> tuple[pa.Table, pa.Table]:
    frame = to_polars(rows)
    if until is None:
        cut = int(len(frame) * (1 - HOLDOUT))
        return frame[:cut].to_arrow(), frame[cut:].to_arrow()
    return frame.filter(pl.col("event_time") < until).to_arrow(), frame.filter(pl.col("event_time") >= until).to_arrow()


def _require_better(made: Training) -> None:
    """Law: a model must earn its place, at the least against a guess that knows only the base rate."""
    figure = "log_loss" if "log_loss" in made.metrics else "mae"
    if figure not in made.metrics:
        raise ModelError(
            "there are no labelled events after those trained on, so nothing shows that the model is any good;"
            " --force announces it all the same"
        )
    ours, base = made.metrics[figure], made.metrics[f"base_{figure}"]
    if ours >= base:
        raise ModelError(
            f"refused: {figure} {ours:.4f} on {made.evaluation_rows:,} later events is no better than the base"
            f" rate's {base:.4f}; --force announces it all the same"
        )
