"""Who has which role in a pipeline, as declared."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from tidemill.schemas.errors import DeclarationError


@dataclass(frozen=True)
class Access:
    """The users of a pipeline by role: names that the cluster knows, as SCRAM users or from certificates.

    `tidemill access apply` writes the ACLs that each role needs; nothing else heeds this.

    >>> Access(producer=["gate"], subscriber=["board", "planner"]).users()["subscriber"]
    ('board', 'planner')

    Raises:
        DeclarationError: a role's users are not a list of names.

    """

    producer: Sequence[str] = ()
    subscriber: Sequence[str] = ()
    labeller: Sequence[str] = ()
    worker: Sequence[str] = ()
    trainer: Sequence[str] = ()
    control: Sequence[str] = ()
    operator: Sequence[str] = ()

    def __post_init__(self) -> None:
        for role, users in ((field.name, getattr(self, field.name)) for field in fields(self)):
            if isinstance(users, str) or not all(isinstance(user, str) and user and user != "*" for user in users):
                raise DeclarationError(f"access of {role}: expected a list of users' names, got {users!r}")

    def users(self) -> Mapping[str, tuple[str, ...]]:
        """The users of every role."""
        return {field.name: tuple(getattr(self, field.name)) for field in fields(self)}
