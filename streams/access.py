"""Who may do what: the access that each role needs of a pipeline's cluster, and no more.

Read and Write imply Describe, and who may write to a topic may be idempotent (Kafka 3.0 and newer, KIP-679): no role
needs a grant on the cluster for that.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tidemill.processors.online_inference.beside import SHADOW_PREDICTIONS
from tidemill.schemas.errors import DeclarationError, nearest
from tidemill.streams.plan import OUTPUTS, PRIVACY_ACCOUNT, Plan
from tidemill.streams.retries import transactional_id
from tidemill.streams.rollout_log import transactional_id as rollout_id

TOPIC, GROUP, TRANSACTIONAL_ID, CLUSTER = "topic", "group", "transactional-id", "cluster"
READERS_PREFIX = "tidemill-"
"""Client ids of readers outside any group; librdkafka asks for the coordinator all the same."""
_CLUSTER_NAME = "kafka-cluster"

_READS = {
    "producer": ("schemas",),
    "subscriber": ("schemas", "predictions", SHADOW_PREDICTIONS, "outcomes", "drift-alerts"),
    "labeller": ("schemas", "label-requests"),
    "worker": ("schemas", "events", *OUTPUTS[:-1], "labels", "changelog", "models", "model-artefacts"),
    "trainer": (
        "schemas",
        "features",
        "labels",
        "predictions",
        "outcomes",
        "label-requests",
        "models",
        "model-artefacts",
        "retrain-requests",
        "retrain-triggers",
        "training-jobs",
        PRIVACY_ACCOUNT,
    ),
    "control": (
        "schemas",
        "models",
        "model-artefacts",
        "profiles",
        "alert-actions",
        "retrain-requests",
        "training-jobs",
        "control",
        SHADOW_PREDICTIONS,
        "outcomes",
    ),
    "operator": (
        "schemas",
        "events",
        "labels",
        "features",
        SHADOW_PREDICTIONS,
        "predictions",
        SHADOW_PREDICTIONS,
        "outcomes",
        "rejected",
        "retries",
        "changelog",
        "models",
        "model-artefacts",
        "profiles",
        "drift-alerts",
        "retrain-triggers",
        "training-jobs",
    ),
}
_WRITES = {
    "producer": ("events",),
    "labeller": ("labels",),
    "worker": (*OUTPUTS, SHADOW_PREDICTIONS, "outcomes", "rejected", "changelog", "schemas", "profiles"),
    "trainer": ("models", "model-artefacts", "label-requests", "training-jobs", PRIVACY_ACCOUNT, "lineage"),
    "control": ("control", "drift-alerts", "retrain-triggers", "models"),
    "operator": ("events", "labels", "retries", "alert-actions", "retrain-requests", "models"),
}
ROLES = tuple(_READS)
_MOVE_MODELS = ("trainer", "control", "operator")
"""They write to the rollout log, in transactions."""
CONTROL_TOPICS = (
    "profiles",
    "control",
    "drift-alerts",
    "alert-actions",
    "retrain-requests",
    "retrain-triggers",
    "training-jobs",
)
"""What `tidemill control` works with, by suffix."""
_SHARED = frozenset(suffix for table in (_READS, _WRITES) for suffixes in table.values() for suffix in suffixes)
"""Topics that a role is named for; any other is between workers."""


@dataclass(frozen=True, order=True)
class Grant:
    """One permission of one user, as Kafka's ACLs have it: allowed from any host."""

    user: str
    resource: str
    name: str
    operation: str
    prefixed: bool = False

    def __str__(self) -> str:
        return f"{self.user}: {self.operation} on {self.resource} {self.name}{'*' if self.prefixed else ''}"


def grants(plan: Plan, role: str, user: str) -> set[Grant]:
    """Everything that a user in this role needs.

    Raises:
        DeclarationError: there is no such role, or the user is the wildcard, by which everyone would be meant.

    """
    if role not in ROLES:
        raise DeclarationError(f"there is no role {role!r}{nearest(role, ROLES)}; expected one of {', '.join(ROLES)}")
    if not user or user == "*":
        raise DeclarationError(f"a role is given to a user by name; got {user!r}")
    topics = [spec.name for spec in plan.topics()]
    readable = {plan.topic(suffix) for suffix in _READS[role]}
    writable = {plan.topic(suffix) for suffix in _WRITES.get(role, ())}
    if role == "worker":
        tables = {table.topic for table in plan.topic_tables}
        internal = set(topics) - tables - {plan.topic(suffix) for suffix in _SHARED}
        readable |= tables | internal
        writable |= internal
    made = {Grant(user, TOPIC, topic, "read") for topic in topics if topic in readable}
    made |= {Grant(user, TOPIC, topic, "write") for topic in topics if topic in writable}
    made.add(Grant(user, GROUP, READERS_PREFIX, "describe", prefixed=True))
    if role in _MOVE_MODELS:
        made.add(Grant(user, TRANSACTIONAL_ID, rollout_id(plan.name), "write"))
    if role == "worker":
        made |= _of_workers(plan, user, topics)
    elif role == "control":
        made |= _of_control(plan, user)
    elif role == "trainer":
        # Runners share triggers by a group, and end a job in a transaction; the rollout log is written in one as well.
        made.add(Grant(user, GROUP, plan.topic("jobs"), "read"))
        made.add(Grant(user, TRANSACTIONAL_ID, plan.topic("jobs."), "write", prefixed=True))
    elif role == "subscriber":
        made.add(Grant(user, GROUP, subscriber_prefix(plan.name, user), "read", prefixed=True))
    elif role == "operator":
        made |= _of_operators(plan, user, topics)
    return made


def subscriber_prefix(pipeline: str, user: str) -> str:
    """How the names of a subscriber's consumer groups begin: nobody else's groups do.

    >>> subscriber_prefix("flights", "board")
    'flights.subscriber.board.'
    """
    return f"{pipeline}.subscriber.{user}."


def _of_workers(plan: Plan, user: str, topics: Iterable[str]) -> set[Grant]:
    """Its groups, its transactions; `run` also looks whether every topic is there, with the settings declared."""
    made = {Grant(user, GROUP, plan.topic(stage), "read") for stage in plan.stages}
    made |= {Grant(user, TOPIC, topic, kind) for topic in topics for kind in ("describe", "describeconfigs")}
    # Workers look whether others run the same stages; transactional ids begin as the pipeline's topics do.
    made.add(Grant(user, TRANSACTIONAL_ID, plan.topic(""), "write", prefixed=True))
    return made


def _of_control(plan: Plan, user: str) -> set[Grant]:
    """Its group; it looks whether its topics are there, and how many partitions of events there are."""
    names = {plan.topic(suffix) for suffix in CONTROL_TOPICS} & {spec.name for spec in plan.topics()}
    made = {Grant(user, TOPIC, name, kind) for name in names for kind in ("describe", "describeconfigs")}
    made.add(Grant(user, TOPIC, plan.topic("events"), "describe"))
    made.add(Grant(user, GROUP, plan.topic("control"), "read"))
    if plan.rollout is not None:
        # Where the rollout judge goes on reading after a restart.
        made.add(Grant(user, GROUP, plan.topic("rollout"), "read"))
    return made


def _of_operators(plan: Plan, user: str, topics: Iterable[str]) -> set[Grant]:
    """Topics, groups' offsets, sending rejected events again, and ACLs: who may write ACLs may give itself anything."""
    made = {Grant(user, TOPIC, topic, kind) for topic in topics for kind in ("create", "describe", "describeconfigs")}
    made.add(Grant(user, GROUP, plan.topic(""), "describe", prefixed=True))
    made.add(Grant(user, TRANSACTIONAL_ID, transactional_id(plan.name), "write"))
    made |= {Grant(user, CLUSTER, _CLUSTER_NAME, kind) for kind in ("alter", "describe")}
    return made


def declared_grants(plan: Plan, access: Mapping[str, Iterable[str]]) -> set[Grant]:
    """The grants of all users of a declaration, by role."""
    return {grant for role, users in access.items() for user in users for grant in grants(plan, role, user)}


def concerns(plan: Plan, grant: Grant) -> bool:
    """Whether a grant is about this pipeline alone, so that it can go when the declaration does not name it."""
    if grant.resource == TRANSACTIONAL_ID or grant.resource == GROUP:
        return grant.name.startswith(plan.topic(""))
    return grant.resource == TOPIC and grant.name.startswith(plan.topic(""))
