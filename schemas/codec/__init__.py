"""Bytes on the wire to Arrow columns, and back, with a verdict per message."""

from tidemill.schemas.codec.codec import Codec
from tidemill.schemas.codec.verdict import BadMessage, Decoded, Reason

__all__ = ["BadMessage", "Codec", "Decoded", "Reason"]
