"""The reference: profiles of what a model was trained and evaluated on, as bytes inside its artefact.

The contract that they are written with stands before them, so that they can be read when it has changed.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping

from tidemill.processors.drift.profile import Kind, Profile
from tidemill.processors.drift.profile_record import from_table, to_table
from tidemill.processors.parts import split
from tidemill.schemas.builtin import PROFILE
from tidemill.schemas.codec import Codec
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import ModelError, SchemaError
from tidemill.schemas.resolver import KnownSchemas

_LENGTH = 4
Reference = dict[tuple[Kind, str], Profile]
"""Profiles by kind and slice, the empty slice being all rows."""
References = Callable[[str], Mapping[tuple[Kind, str], Profile]]
"""Gives the profiles that a model version was made with; none if it has none."""


def write_reference(profiles: Iterable[Profile]) -> bytes:
    """The profiles as bytes: the contract, then each as a message of it, with their lengths."""
    messages = Codec(PROFILE, KnownSchemas()).encode(to_table(profiles))
    parts = [PROFILE.text.encode(), *messages]
    return b"".join(len(part).to_bytes(_LENGTH, "big") + part for part in parts)


def reference_profiles(artefact: bytes) -> Reference:
    """The profiles inside an artefact, by kind and slice; none if it carries none.

    "features" are those of the rows that the model was trained on; "predictions" and "outcomes" are those of the
    later rows that it was evaluated on. Their model version is empty. The caller has compared the artefact's hash.

    Raises:
        ModelError: what stands in the place of the profiles are none.

    """
    reference, _ = split(artefact)
    if not reference:
        return {}
    try:
        text, *messages = _parts(reference)
        writer = Contract.writer(text.decode())
        decoded = Codec(PROFILE, KnownSchemas([writer])).decode(messages)
    except (SchemaError, UnicodeDecodeError) as fault:
        raise ModelError(f"the artefact's profiles have no contract that can be read: {fault}") from None
    if decoded.bad:
        raise ModelError(f"the artefact's profiles cannot be read: {decoded.bad[0].message}")
    return {(profile.kind, profile.scope.slice): profile for profile in from_table(decoded.table)}


def _parts(data: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(data):
        end = start + _LENGTH + int.from_bytes(data[start : start + _LENGTH], "big")
        if end > len(data):
            raise ModelError(f"expected a profile that ends at byte {end}, got {len(data)} bytes; it was cut")
        yield data[start + _LENGTH : end]
        start = end
