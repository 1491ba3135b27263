"""The learner of a pipeline, connected to Kafka."""

from collections.abc import Sequence

from tidemill.pipeline import Pipeline
from tidemill.schemas.errors import DeclarationError
from tidemill.schemas.resolver import SchemaSource
from tidemill.streams.kafka.connection import Connection
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.publisher import Publisher
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.learner import (
    LearningModel,
    StreamLearner,
    no_better,
    publisher,
)
from tidemill.streams.rollout_log import RolloutLog
from tidemill.streams.schema_topic import SchemaTopic


def learning_model(pipeline: Pipeline) -> LearningModel:
    """What of a pipeline learns in the stream; raises DeclarationError if nothing does."""
    if pipeline.model is None or pipeline.model.learning is None:
        raise DeclarationError(
            f"pipeline {pipeline.name} has no model that learns in the stream: declare"
            " tm.Model(..., learning=tm.Learning())"
        )
    return LearningModel(pipeline.model.estimator, pipeline.model.features, pipeline.model.learning)


def open_learner(
    pipeline: Pipeline,
    connection: Connection,
    *,
    registry: SchemaSource | None = None,
    force: bool = False,
    trusted: Sequence[str] = (),
) -> StreamLearner:
    """The pipeline's learner, where its last version stands.

    With `force` versions are published whatever they are worth. `trusted` are the hashes of versions to go on from
    that consist of more than River's own parts.

    Raises:
        DeclarationError: the pipeline has no model that learns in the stream, or no outcomes.
        ModelError: the version to go on from is altered or not trusted, or the model has no seed.
        StreamError: the cluster does not let it learn, or retention has deleted what it would have to learn.

    """
    model, plan = learning_model(pipeline), pipeline.plan()
    return StreamLearner(
        plan,
        model,
        KafkaReader(connection),
        SchemaTopic(Follower(connection, plan.topic("schemas")), registry),
        Follower(connection, plan.topic("models")),
        publisher(plan, model, Publisher(connection, "tidemill-learn"), RolloutLog(plan, connection)),
        refuse=(lambda version: None) if force else no_better,  # noqa: ARG005
        trusted=trusted,
    )
