"""A client's half of SCRAM-SHA-512 (RFC 5802, RFC 7677), in as far as a probe of our own broker needs it."""

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable

_HASH = "sha512"


def authenticate(user: str, password: str, exchange: Callable[[bytes], bytes]) -> None:
    """Log in by two exchanges of messages.

    Raises:
        ValueError: the server does not know the password either, or does not speak SCRAM.

    """
    nonce = secrets.token_urlsafe(18)
    first = f"n={user},r={nonce}"
    challenge = exchange(f"n,,{first}".encode()).decode()
    given = dict(part.split("=", 1) for part in challenge.split(","))
    if not given.get("r", "").startswith(nonce):
        raise ValueError("the server answered another client's question")
    salted = hashlib.pbkdf2_hmac(_HASH, password.encode(), base64.b64decode(given["s"]), int(given["i"]))
    last = f"c=biws,r={given['r']}"
    said = f"{first},{challenge},{last}".encode()
    client_key = _hmac(salted, b"Client Key")
    signature = _hmac(hashlib.new(_HASH, client_key).digest(), said)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    answer = exchange(f"{last},p={base64.b64encode(proof).decode()}".encode()).decode()
    expected = base64.b64encode(_hmac(_hmac(salted, b"Server Key"), said)).decode()
    if not hmac.compare_digest(answer, f"v={expected}"):
        raise ValueError("the server does not know the password")


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, _HASH)
