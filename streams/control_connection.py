"""A connection's settings, which are librdkafka's, as the control plane's client (aiokafka) takes them."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from tidemill.schemas.errors import StreamError, nearest
from tidemill.streams.kafka.connection import Connection

_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_KNOWN = frozenset(
    {
        *("security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username", "sasl.password"),
        *("ssl.ca.location", "ssl.certificate.location", "ssl.key.location", "ssl.key.password"),
        *("ssl.endpoint.identification.algorithm", "enable.ssl.certificate.verification"),
        # What tunes librdkafka alone.
        *("client.dns.lookup", "log_level", "metadata.recovery.strategy"),
    }
)


@dataclass(frozen=True)
class Login:
    """Who this is, and how the broker is known; the password is not shown."""

    mechanism: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    context: ssl.SSLContext | None = field(default=None, repr=False)


def login_of(connection: Connection) -> Login:
    """TLS and SASL of a connection.

    Raises:
        StreamError: a setting about security has no counterpart, or a certificate cannot be read; no secret is quoted.

    """
    settings = {"security.protocol": "PLAINTEXT", **connection.settings}
    for name in settings:
        if name.startswith(("sasl.", "ssl.", "security.", "enable.ssl.")) and name not in _KNOWN:
            raise StreamError(f"the control plane cannot heed the setting {name}{nearest(name, _KNOWN)}: leave it out")
    protocol = settings["security.protocol"].upper()
    if protocol not in _PROTOCOLS:
        raise StreamError(f"security.protocol: expected one of {', '.join(_PROTOCOLS)}, got {protocol!r}")
    context = _context(settings) if protocol.endswith("SSL") else None
    if not protocol.startswith("SASL"):
        return Login(context=context)
    mechanism = settings.get("sasl.mechanism", settings.get("sasl.mechanisms", "")).upper()
    if mechanism not in _MECHANISMS:
        raise StreamError(f"sasl.mechanism: the control plane knows {', '.join(_MECHANISMS)}; got {mechanism!r}")
    return Login(mechanism, settings.get("sasl.username"), settings.get("sasl.password"), context)


def _context(settings: dict[str, str]) -> ssl.SSLContext:
    named = [settings.get(f"ssl.{part}.location") for part in ("ca", "certificate", "key")]
    for path in named:
        if path is not None and not Path(path).is_file():
            raise StreamError(f"the settings name {path}, which is not there")
    authority, certificate, key = named
    try:
        context = ssl.create_default_context(cafile=authority)
        if certificate is not None:
            context.load_cert_chain(certificate, key, settings.get("ssl.key.password"))
    except (ssl.SSLError, OSError) as error:
        raise StreamError(f"the certificates of the settings cannot be used: {error}") from None
    if settings.get("ssl.endpoint.identification.algorithm", "https") in ("none", ""):
        context.check_hostname = False
    if settings.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
