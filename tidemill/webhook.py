"""Alerts sent to a URL: signed, in order, each at least once."""

import base64
import hashlib
import hmac
import http.client
import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tidemill.results import Alert
from tidemill.schemas.errors import DeclarationError

LEAST_SECRET = 16
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
_PREFIX = "whsec_"
log = logging.getLogger(__name__)


def read_secret(path: Path) -> bytes:
    """The first line of a file; one that begins with `whsec_` is base64, as Standard Webhooks has it.

    Raises:
        DeclarationError: it cannot be read, or is too short to be a secret; it is not quoted.

    """
    try:
        line = (path.read_text().splitlines() or [""])[0].strip()
        secret = (
            base64.b64decode(line.removeprefix(_PREFIX), validate=True) if line.startswith(_PREFIX) else line.encode()
        )
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "expected text, or whsec_ and base64"
        raise DeclarationError(f"--secret-file: {path} cannot be read: {reason}") from None
    if len(secret) < LEAST_SECRET:
        raise DeclarationError(f"--secret-file: expected at least {LEAST_SECRET} bytes on the first line of {path}")
    return secret


def signature(secret: bytes, delivery: str, timestamp: int, body: bytes) -> str:
    """The signature of a delivery by Standard Webhooks 1.0: HMAC-SHA256 over `id.timestamp.body`, in base64.

    >>> signature(b"0123456789abcdef", "a1.0", 1700000000, b"{}")
    'v1,5equJ4IzUYp3USy6WrH21y5vx/lRAVf/DVeY8FoycF4='
    """
    signed = hmac.new(secret, f"{delivery}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """A redirect is a refusal: the signature was for this receiver."""


@dataclass(frozen=True)
class Webhook:
    """One receiver. `now` gives Unix time; `wait` pauses for seconds, and answers something true to have it give up."""

    url: str
    secret: bytes
    now: Callable[[], float]
    wait: Callable[[float], object]
    seconds: float = 10

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise DeclarationError(f"expected a URL such as https://example.org/alerts, got {self.url!r}")

    def deliver(self, alert: Alert) -> bool:
        """Send it until the receiver answers with 2xx; whether it did before it gave up."""
        pause = FIRST_PAUSE
        while (problem := self._post(alert)) is not None:
            log.warning("%s was not delivered: %s; again in %g s", alert.delivery_id, problem, pause)
            if self.wait(pause):
                return False
            pause = min(2 * pause, LONGEST_PAUSE)
        return True

    def _post(self, alert: Alert) -> str | None:
        body, timestamp = alert.as_json().encode(), int(self.now())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "tidemill",
            "webhook-id": alert.delivery_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self.secret, alert.delivery_id, timestamp, body),
        }
        request = urllib.request.Request(self.url, body, headers, method="POST")  # noqa: S310 - http and https only
        try:
            with urllib.request.build_opener(_NoRedirect).open(request, timeout=self.seconds):
                return None
        except urllib.error.HTTPError as error:
            with error:
                return f"the receiver answered {error.code}"
        except (OSError, http.client.HTTPException) as error:
            return f"the receiver cannot be reached: {getattr(error, 'reason', None) or error}"


class Position:
    """The next offset to deliver, in a file that is replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> int | None:
        """Where to go on; None if nothing was delivered yet.

        Raises:
            DeclarationError: the file is none of ours.

        """
        try:
            return int(json.loads(self._path.read_text())["offset"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise DeclarationError(f"{self._path} holds no position ({error}): delete it to begin anew") from None

    def write(self, offset: int) -> None:
        """Everything before this is delivered."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        with draft.open("w") as file:
            json.dump({"offset": offset}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)


def deliver_all(webhook: Webhook, alerts: Iterable[tuple[int, Alert | None]], position: Position) -> int:
    """Deliver alerts in order, each with its offset (None is passed over); returns how many were.

    Ends with the alerts, or with one that was given up: it comes first the next time.
    """
    delivered = 0
    for offset, alert in alerts:
        if alert is not None and not alert.muted:
            if not webhook.deliver(alert):
                break
            delivered += 1
        position.write(offset + 1)
    return delivered
