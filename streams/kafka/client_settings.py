"""Client settings in librdkafka's words, from a file and from the environment; secrets are masked when shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidemill.schemas.errors import StreamError

CONFIG_ENV = "TIDEMILL_KAFKA_CONFIG"
PREFIX = "TIDEMILL_KAFKA_"
_FILE = "_FILE"
_SECRET = (
    *(
        "password",
        "passphrase",
        "secret",
        "token",
        "oauthbearer.config",
        "key.pem",
        "ssl_key",
        "sasl.jaas",
        "assertion",
    ),
    "basic.auth",
)
MASK = "***"


def is_secret(name: str) -> bool:
    """Whether a setting's value must not be shown.

    >>> is_secret("sasl.password"), is_secret("sasl.username")
    (True, False)
    """
    return any(word in name for word in _SECRET)


class Settings(dict[str, Any]):
    """Client settings whose `repr` masks secrets."""

    def __repr__(self) -> str:
        return repr({name: MASK if is_secret(name) else value for name, value in self.items()})

    __str__ = __repr__

    def hide(self, text: str) -> str:
        """Mask the secrets' values in a text from elsewhere, such as an error of the client library."""
        for name, value in self.items():
            if is_secret(name) and value:
                text = text.replace(str(value), MASK)
        return text


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings of the file that TIDEMILL_KAFKA_CONFIG names, and over them those of the environment.

    `TIDEMILL_KAFKA_SASL_USERNAME=x` is `sasl.username=x`; a secret can lie in a file of its own, which
    `TIDEMILL_KAFKA_SASL_PASSWORD_FILE` names.

    Raises:
        StreamError: a file cannot be read, or a line of it is no setting. No value is quoted.

    """
    path = environ.get(CONFIG_ENV)
    settings = Settings(_read_properties(Path(path)) if path else {})
    for variable in sorted(environ):
        if not variable.startswith(PREFIX) or variable == CONFIG_ENV:
            continue
        name = variable.removeprefix(PREFIX).lower().replace("_", ".")
        plain = name.removesuffix(".file")
        if variable.endswith(_FILE) and is_secret(plain) and "assertion" not in plain:
            settings[plain] = _read(Path(environ[variable]), variable).rstrip("\r\n")
        else:
            settings[name] = environ[variable]
    return settings


def _read(path: Path, variable: str) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise StreamError(f"{variable} names {path}, which cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise StreamError(f"{variable} names {path}, which is not text in UTF-8") from None


def _read_properties(path: Path) -> dict[str, str]:
    settings = {}
    for number, line in enumerate(_read(path, CONFIG_ENV).splitlines(), start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        key, separator, value = text.partition("=")
        if not separator:
            raise StreamError(f"{path}:{number}: expected key=value")
        settings[key.strip()] = value.strip()
    return settings
