"""The key of the keyed hash: from the environment or a file, never from the pipeline's code."""

import os
from pathlib import Path

from tidemill.schemas.errors import DeclarationError

HASH_KEY, HASH_KEY_FILE = "TIDEMILL_HASH_KEY", "TIDEMILL_HASH_KEY_FILE"
_SHORTEST = 16


def hash_key() -> bytes:
    """The key: what TIDEMILL_HASH_KEY says, or the content of the file that TIDEMILL_HASH_KEY_FILE names.

    Raises:
        DeclarationError: there is none, or it is shorter than 16 bytes.

    """
    text, path = os.environ.get(HASH_KEY), os.environ.get(HASH_KEY_FILE)
    where = HASH_KEY if text else HASH_KEY_FILE
    try:
        key = text.encode() if text else Path(path).read_bytes().rstrip(b"\r\n") if path else b""
    except OSError as error:
        raise DeclarationError(f"{HASH_KEY_FILE}={path}: the key cannot be read: {error.strerror}") from None
    if not text and not path:
        raise DeclarationError(
            f"private fields are hashed with a key, and none is given: set {HASH_KEY}, or {HASH_KEY_FILE} to a file"
            " with it, to the same secret for all workers; `openssl rand -hex 32` makes one"
        )
    if len(key) < _SHORTEST:
        raise DeclarationError(f"{where}: expected a key of {_SHORTEST} bytes at least, got {len(key)}")
    return key
