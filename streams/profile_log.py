"""Profiles as records on P.profiles: what a task writes of its partition, and what the control plane reads."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress

from tidemill.processors.drift import Profile, from_table, to_table
from tidemill.processors.drift.windows import Delta, WindowKey
from tidemill.schemas.builtin import PROFILE
from tidemill.schemas.codec import Codec
from tidemill.schemas.resolver import KnownSchemas
from tidemill.streams.ports import Headers, LogRecord

PROFILES = "profiles"
"""The topic, by suffix."""
TASK, REACHED = "task", "reached"
"""Headers, as text: the partition that speaks; in JSON, how far in event time it has seen each partition of events."""
_BY_MODEL = frozenset({"predictions", "outcomes"})
log = logging.getLogger(__name__)
_codec = Codec(PROFILE, KnownSchemas([PROFILE]))


def profile_messages(
    profiles: Sequence[Profile], task: int, reached: Mapping[int, int]
) -> tuple[list[bytes | None], list[bytes | None], list[Headers | None]]:
    """Keys, values and headers of what a task adds to windows, oldest windows first: they are to stay in order.

    `reached` is by partition of events the greatest event time that the task has seen, these profiles' rows included.
    """
    ordered = sorted(profiles, key=lambda profile: (profile.scope.window_end, profile.kind, profile.scope.slice))
    keys: list[bytes | None] = [str(_key(profile)).encode() for profile in ordered]
    values: list[bytes | None] = [*_codec.encode(to_table(ordered))]
    headers: list[Headers | None] = []
    for profile in ordered:
        # More of this window follows: only the last record may say that it was left behind.
        most = max(reached.values(), default=0) if profile is ordered[-1] else profile.scope.window_end - 1
        times = {str(partition): min(time, most) for partition, time in sorted(reached.items())}
        headers.append([(TASK, str(task).encode()), (REACHED, json.dumps(times).encode())])
    return keys, values, headers


def read_deltas(records: Sequence[LogRecord]) -> list[Delta[Profile] | None]:
    """What each record of P.profiles adds; None, and a line in the log, if it is no profile."""
    return [_delta(record, profile) for record, profile in zip(records, _profiles(records), strict=True)]


def _profiles(records: Sequence[LogRecord]) -> list[Profile | ValueError]:
    """In one go where that is possible: a profile by itself costs three times as much."""
    values = [record.value or b"" for record in records]
    decoded = _codec.decode(values)
    if not decoded.bad:
        with suppress(ValueError, LookupError, TypeError, OverflowError):
            return list(from_table(decoded.table))
    return [_profile(value) for value in values]


def _profile(value: bytes) -> Profile | ValueError:
    try:
        return unpack(value)
    except (ValueError, LookupError, TypeError, OverflowError) as error:
        return ValueError(str(error))


def _delta(record: LogRecord, profile: Profile | ValueError) -> Delta[Profile] | None:
    try:
        if isinstance(profile, ValueError):
            raise profile
        headers = dict(record.headers)
        task = int(headers[TASK])
        reached = {int(partition): int(time) for partition, time in json.loads(headers[REACHED]).items()}
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        log.error("profiles[%d]@%d is not a profile: %s", record.partition, record.offset, error)
        return None
    place = record.partition, record.offset
    return Delta(_key(profile), place, record.timestamp, task, reached, profile, profile.sequence)


def pack(profile: Profile) -> bytes:
    """One profile as bytes of its contract."""
    return _codec.encode(to_table([profile]))[0]


def unpack(value: bytes) -> Profile:
    """Back from `pack`; raises ValueError if that is no profile."""
    decoded = _codec.decode([value])
    if decoded.bad:
        raise ValueError(decoded.bad[0].message)
    (profile,) = from_table(decoded.table)
    return profile


def _key(profile: Profile) -> WindowKey:
    scope = profile.scope
    version = scope.model_version if profile.kind in _BY_MODEL else ""
    return WindowKey(scope.window_start, scope.window_end, profile.kind, scope.slice, version)
