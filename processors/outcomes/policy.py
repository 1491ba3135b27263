"""What is done with labels that are not what one expects: by declaration."""

from dataclasses import dataclass

from tidemill.schemas.errors import DeclarationError, nearest

CHOICES = {
    "early": ("wait", "reject", "drop"),
    "late": ("reject", "join", "drop"),
    "changed": ("revise", "reject", "drop"),
    "unknown": ("reject", "drop"),
}
"""What may be declared for each kind; "drop" means that such labels are only counted. The first is the default."""


@dataclass(frozen=True)
class Policies:
    """What is done with labels that come before their prediction, after the horizon, changed, or for unknown ids.

    >>> Policies(late="join").late
    'join'

    Raises:
        DeclarationError: there is no such policy.

    """

    early: str = "wait"
    late: str = "reject"
    changed: str = "revise"
    unknown: str = "reject"

    def __post_init__(self) -> None:
        for kind, choices in CHOICES.items():
            chosen = getattr(self, kind)
            if chosen not in choices:
                raise DeclarationError(
                    f"Labels({kind}={chosen!r}){nearest(str(chosen), choices)}; expected one of {', '.join(choices)}"
                )


@dataclass(frozen=True)
class Horizon:
    """How long after its event a label may be dated, and how long its prediction is kept beyond that; microseconds."""

    within: int
    grace: int

    @property
    def kept(self) -> int:
        """How long, in event time, a prediction waits at least."""
        return self.within + self.grace
