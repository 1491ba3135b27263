"""ACLs and SCRAM users on the cluster: asked for, written, and awaited until the broker knows them."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from tidemill.schemas.errors import StreamError
from tidemill.streams.access import CLUSTER, GROUP, TOPIC, TRANSACTIONAL_ID, Grant
from tidemill.streams.kafka.admin import TIMEOUT
from tidemill.streams.kafka.connection import Connection, translate

_PRINCIPAL = "User:"
_ANY_HOST = "*"
_ITERATIONS = 8192
_PAUSE_SECONDS = 0.05
_RESOURCES = {
    TOPIC: ResourceType.TOPIC,
    GROUP: ResourceType.GROUP,
    TRANSACTIONAL_ID: ResourceType.TRANSACTIONAL_ID,
    CLUSTER: ResourceType.BROKER,
}
_NAMES = {kind: name for name, kind in _RESOURCES.items()}
_OPERATIONS = {
    "read": AclOperation.READ,
    "write": AclOperation.WRITE,
    "create": AclOperation.CREATE,
    "alter": AclOperation.ALTER,
    "describe": AclOperation.DESCRIBE,
    "describeconfigs": AclOperation.DESCRIBE_CONFIGS,
}


class Acls:
    """A cluster's ACLs and SCRAM users. Every change is awaited: it takes a moment to spread.

    Raises:
        StreamError: the user of the connection may not ask or change them, or the cluster has no authorizer.

    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._admin = AdminClient(connection.client())
        self._allowed: frozenset[AclOperation] | None = None

    def _require(self, operation: AclOperation, doing: str) -> None:
        """Refuse what the cluster would refuse, before it is asked.

        The client library (2.16) does not say so when ACLs may not be seen, and corrupts its memory when users may not.
        """
        if self._allowed is None:
            future = self._admin.describe_cluster(include_authorized_operations=True, request_timeout=TIMEOUT)
            self._allowed = frozenset(self._done(future, doing).authorized_operations or ())
        if self._allowed.isdisjoint({operation, AclOperation.ALL}):
            raise StreamError(
                f"{doing} failed on {self._connection.bootstrap_servers}: this user has not the right to"
                f" {operation.name.lower()} the cluster; operators and superusers have"
            )

    def grants(self) -> set[Grant]:
        """Every permission that is allowed from any host to a user; what else there is, is not ours."""
        self._require(AclOperation.DESCRIBE, "asking for ACLs")
        everything = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
        )
        future = self._admin.describe_acls(everything, request_timeout=TIMEOUT)
        bindings = self._done(future, "asking for ACLs")
        return {grant for grant in map(_grant_of, bindings) if grant is not None}

    def add(self, wanted: Iterable[Grant]) -> None:
        """Write these; returns when they hold."""
        bindings = [_binding(grant) for grant in wanted]
        if bindings:
            for future in self._admin.create_acls(bindings, request_timeout=TIMEOUT).values():
                self._done(future, "writing ACLs")
            self._until(lambda: set(wanted) <= self.grants(), "the new ACLs")

    def remove(self, unwanted: Iterable[Grant]) -> None:
        """Delete these; returns when they no longer hold."""
        filters = [_filter(grant) for grant in unwanted]
        if filters:
            for future in self._admin.delete_acls(filters, request_timeout=TIMEOUT).values():
                self._done(future, "deleting ACLs")
            self._until(lambda: self.grants().isdisjoint(unwanted), "the ACLs' removal")

    def users(self) -> list[str]:
        """The users that have a SCRAM-SHA-512 password."""
        self._require(AclOperation.DESCRIBE, "asking for users")
        future = self._admin.describe_user_scram_credentials(request_timeout=TIMEOUT)
        found = self._done(future, "asking for users")
        mechanism = ScramMechanism.SCRAM_SHA_512
        return sorted(
            name for name, each in found.items() if any(i.mechanism == mechanism for i in each.scram_credential_infos)
        )

    def set_password(self, user: str, password: str) -> None:
        """Make a user, or give one another password."""
        info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, _ITERATIONS)
        self._alter(UserScramCredentialUpsertion(user, info, password.encode()), f"giving {user} a password")
        self._until(lambda: user in self.users(), f"user {user}")

    def remove_user(self, user: str) -> None:
        """Take a user's password away: no new connection gets in with it."""
        self._alter(UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_512), f"removing user {user}")
        self._until(lambda: user not in self.users(), f"the removal of user {user}")

    def _alter(self, change: Any, doing: str) -> None:
        for future in self._admin.alter_user_scram_credentials([change], request_timeout=TIMEOUT).values():
            self._done(future, doing)

    def _done(self, future: Any, doing: str) -> Any:
        try:
            return future.result(2 * TIMEOUT)
        except KafkaException as error:
            raise translate(error, doing, self._connection) from None

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not holds():
            if time.monotonic() > deadline:
                raise StreamError(f"{self._connection.bootstrap_servers} did not show {what} within {TIMEOUT} s")
            time.sleep(_PAUSE_SECONDS)


def _pattern(grant: Grant) -> ResourcePatternType:
    return ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL


def _arguments(grant: Grant) -> tuple[Any, ...]:
    user, operation = _PRINCIPAL + grant.user, _OPERATIONS[grant.operation]
    return _RESOURCES[grant.resource], grant.name, _pattern(grant), user, _ANY_HOST, operation, AclPermissionType.ALLOW


def _binding(grant: Grant) -> AclBinding:
    return AclBinding(*_arguments(grant))


def _filter(grant: Grant) -> AclBindingFilter:
    return AclBindingFilter(*_arguments(grant))


def _grant_of(binding: AclBinding) -> Grant | None:
    plain = binding.permission_type == AclPermissionType.ALLOW and binding.host == _ANY_HOST
    if not plain or binding.restype not in _NAMES or not binding.principal.startswith(_PRINCIPAL):
        return None
    operation = binding.operation.name.lower().replace("_", "")
    prefixed = binding.resource_pattern_type == ResourcePatternType.PREFIXED
    user = binding.principal.removeprefix(_PRINCIPAL)
    return Grant(user, _NAMES[binding.restype], binding.name, operation, prefixed)
