"""Topics as declared: created when missing, compared when there."""

from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from tidemill.schemas.errors import StreamError
from tidemill.streams.kafka.connection import Connection, translate
from tidemill.streams.kafka.retry import retry
from tidemill.streams.plan import TopicSpec

TIMEOUT = 30


@dataclass(frozen=True)
class TopicState:
    """What became of a topic: `created`, `unchanged` or `differs`, and in what."""

    name: str
    state: str
    partitions: int
    detail: str = ""


def apply_topics(connection: Connection, specs: Sequence[TopicSpec]) -> list[TopicState]:
    """Create what is missing. What is there is never changed: a difference is reported.

    Raises:
        StreamError: a topic has not as many partitions as `P.events`, from which a record never changes its partition.

    """
    admin = AdminClient(connection.client())
    try:
        existing = admin.list_topics(timeout=TIMEOUT).topics
    except KafkaException as error:
        raise translate(error, "asking for topics", connection) from None
    first = specs[0]
    own = len(existing[first.name].partitions) if first.name in existing else first.partitions
    assert own is not None
    wanted = {spec.name: spec.partitions or own for spec in specs}
    for spec in specs:
        have = existing.get(spec.name)
        if have is not None and spec.partitions is None and len(have.partitions) != own:
            raise StreamError(
                f"{spec.name} has {len(have.partitions)} partitions, but {first.name} has {own}; they must be equal"
            )
        if have is not None and spec.partitions == 1 and len(have.partitions) != 1:
            raise StreamError(f"{spec.name} has {len(have.partitions)} partitions, but its order matters: expected 1")
    missing = [NewTopic(s.name, wanted[s.name], -1, config=dict(s.config)) for s in specs if s.name not in existing]
    created = _create(admin, connection, missing)
    present = [spec for spec in specs if spec.name not in created]
    differences = _differences(admin, connection, present)
    states = []
    for spec in specs:
        if spec.name in created:
            states.append(TopicState(spec.name, "created", wanted[spec.name]))
        else:
            detail = differences[spec.name]
            partitions = len(existing[spec.name].partitions) if spec.name in existing else wanted[spec.name]
            states.append(TopicState(spec.name, "differs" if detail else "unchanged", partitions, detail))
    return states


def _create(admin: AdminClient, connection: Connection, topics: list[NewTopic]) -> set[str]:
    if not topics:
        return set()
    created = set()
    for name, future in admin.create_topics(topics, operation_timeout=TIMEOUT, request_timeout=TIMEOUT).items():
        try:
            future.result()
            created.add(name)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise StreamError(
                    f"{name} is not there, and this user may not create it: an operator can, by `tidemill topics apply`"
                ) from None
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise translate(error, f"creating topic {name}", connection) from None
    return created


def _differences(admin: AdminClient, connection: Connection, specs: Sequence[TopicSpec]) -> dict[str, str]:
    if not specs:
        return {}
    resources = {spec.name: ConfigResource(ResourceType.TOPIC, spec.name) for spec in specs}
    futures = admin.describe_configs(list(resources.values()), request_timeout=TIMEOUT)
    found = {}
    for spec in specs:
        try:
            actual = futures[resources[spec.name]].result()
        except KafkaException as error:
            raise translate(error, f"asking for the settings of {spec.name}", connection) from None
        parts = [
            f"{k}={actual[k].value} (declared {v})"
            for k, v in spec.config.items()
            if k in actual and actual[k].value != v
        ]
        found[spec.name] = ", ".join(parts)
    return found


@dataclass(frozen=True)
class GroupState:
    """A consumer group: its state, and the client ids of its members."""

    state: str
    members: tuple[str, ...]


def describe_group(connection: Connection, group: str) -> GroupState:
    """Who is in the group now; an unknown group is empty."""
    admin = AdminClient(connection.client())

    def ask() -> GroupState:
        try:
            found = admin.describe_consumer_groups([group], request_timeout=TIMEOUT / 3)[group].result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return GroupState("EMPTY", ())
            raise
        return GroupState(found.state.name, tuple(sorted(member.client_id for member in found.members)))

    # On a new cluster the first question about a group creates the coordinator's topic, which takes a moment.
    return retry(ask, f"describing group {group}", connection, 2 * TIMEOUT)
