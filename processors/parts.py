"""A model's artefact in two parts: what it was trained on, in sketches, and the model; one hash covers both.

An artefact of one part is the model alone, as it was stored before models carried their reference.
"""

from tidemill.schemas.errors import ModelError

_MARK = b"TIDEMILL\x01"
_LENGTH = 8


def joined(reference: bytes, model: bytes) -> bytes:
    """Both parts, the reference first.

    >>> split(joined(b"sketches", b"model")), split(b"model")
    ((b'sketches', b'model'), (b'', b'model'))
    """
    return _MARK + len(reference).to_bytes(_LENGTH, "big") + reference + model


def split(data: bytes) -> tuple[bytes, bytes]:
    """The reference, which is empty where there is none, and the model; raises ModelError if a part is cut off."""
    if not data.startswith(_MARK):
        return b"", data
    start = len(_MARK) + _LENGTH
    end = start + int.from_bytes(data[len(_MARK) : start], "big")
    if len(data) < end:
        raise ModelError(f"expected an artefact whose reference ends at byte {end}, got {len(data)} bytes; it was cut")
    return data[start:end], data[end:]
