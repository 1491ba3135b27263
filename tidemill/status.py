"""A pipeline on its cluster, at a glance."""

from contextlib import closing
from dataclasses import dataclass

from tidemill.client import Client
from tidemill.processors.feature_enrichment.hops import ASSEMBLY, windows_stage
from tidemill.processors.outcomes import LABEL_INTAKE, OUTCOMES
from tidemill.processors.rollout.state import Rollout
from tidemill.streams.kafka.admin import describe_group
from tidemill.streams.kafka.follower import Follower
from tidemill.streams.kafka.reader import KafkaReader
from tidemill.streams.models import announcements
from tidemill.streams.plan import ENRICHED, SCORED, STAGES, stage_input


@dataclass(frozen=True)
class TopicStatus:
    """A topic's size: `records` counts offsets that it still has, transaction markers included."""

    name: str
    partitions: int
    records: int


@dataclass(frozen=True)
class GroupStatus:
    """A group of workers: offsets between what it has committed and the end of its input, and its members."""

    name: str
    input: str
    lag: int
    workers: tuple[str, ...]


@dataclass(frozen=True)
class PipelineStatus:
    """Everything that `tidemill status` shows."""

    name: str
    bootstrap_servers: str
    topics: tuple[TopicStatus, ...]
    groups: tuple[GroupStatus, ...]
    announced_model: str | None


def pipeline_status(client: Client) -> PipelineStatus:
    """Ask the cluster.

    Raises:
        StreamError: it does not answer, or does not know the pipeline.

    """
    name, connection = client.name, client.connection
    with closing(KafkaReader(connection)) as reader:
        topics = tuple(_topic(reader, topic) for topic in reader.topics(f"{name}."))
        inputs = _inputs([topic.name.removeprefix(f"{name}.") for topic in topics])
        groups = [found for stage, suffix in inputs if (found := _group(reader, client, stage, suffix)) is not None]
    champion = Rollout.of(announcements(Follower(connection, f"{name}.models"), wait=True)).champion
    version = None if champion is None else champion.version
    return PipelineStatus(name, connection.bootstrap_servers, topics, tuple(groups), version)


def _group(reader: KafkaReader, client: Client, stage: str, suffix: str) -> GroupStatus | None:
    """The group of a stage, which reads this topic; None if no worker has ever run it."""
    group, source = f"{client.name}.{stage}", f"{client.name}.{suffix}"
    with closing(KafkaReader(client.connection, group)) as offsets:
        committed = {p: offsets.committed(source, p) for p in reader.partitions(source)}
    members = describe_group(client.connection, group).members
    if not members and all(offset is None for offset in committed.values()):
        return None
    lag = sum(
        max(0, reader.end(source, p) - max(offset or 0, reader.beginning(source, p))) for p, offset in committed.items()
    )
    return GroupStatus(group, source, lag, members)


def _inputs(suffixes: list[str]) -> list[tuple[str, str]]:
    """Every stage with what it reads; hops are known by their topics."""
    hops = [(windows_stage(suffix.removeprefix("by-")), suffix) for suffix in suffixes if suffix.startswith("by-")]
    last = [(ASSEMBLY, ENRICHED)] if ENRICHED in suffixes else []
    labelled = [(LABEL_INTAKE, "labels"), (OUTCOMES, SCORED)] if SCORED in suffixes else []
    return [*((stage, stage_input(stage)) for stage in STAGES), *hops, *last, *labelled]


def _topic(reader: KafkaReader, topic: str) -> TopicStatus:
    partitions = reader.partitions(topic)
    return TopicStatus(
        topic, len(partitions), sum(reader.end(topic, p) - reader.beginning(topic, p) for p in partitions)
    )
