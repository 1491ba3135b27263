"""Sanity check: every event is right, or is rejected with a reason that a person can act on."""

from tidemill.processors.sanity_check.checks import (
    Check,
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
from tidemill.processors.sanity_check.stage import SanityCheck

__all__ = [
    "Check",
    "SanityCheck",
    "between",
    "check",
    "matches",
    "not_in_future",
    "not_late",
    "not_older_than",
    "one_of",
    "present",
    "unique",
]
