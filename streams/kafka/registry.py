"""A schema registry as a source of schemas, for shops that have one; needs the extra `registry`."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import StreamError

_NOT_FOUND = 404
REST = 10
"""After an answer of "not found" unknown ones are not asked for again for so many times as long as that took."""


class Registry:
    """Contracts by the registry's ids and GUIDs.

    An unknown id is None, until the registry knows it. Garbage that looks like ids must not hold the others back: see
    `REST`. A registry that does not answer is a `StreamError`.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            from confluent_kafka.schema_registry import SchemaRegistryClient
        except ImportError:
            raise StreamError("a schema registry needs more packages: pip install 'tidemill[registry]'") from None
        self._url = _hidden(url)
        self._client = SchemaRegistryClient({"url": url})
        self._found: dict[int | bytes, Contract] = {}
        self._clock, self._rests_until = clock, float("-inf")

    def close(self) -> None:
        """Release the connection."""
        self._client.close()

    def by_fingerprint(self, fingerprint: bytes) -> Contract | None:  # noqa: ARG002
        """None: registries do not know fingerprints."""
        return None

    def by_id(self, schema_id: int) -> Contract | None:
        """The schema with this id."""
        return self._find(schema_id, lambda: self._client.get_schema(schema_id))

    def by_guid(self, guid: bytes) -> Contract | None:
        """The schema with this GUID."""
        return self._find(guid, lambda: self._client.get_schema_by_guid(str(UUID(bytes=guid))))

    def register(self, topic: str, contract: Contract) -> int:
        """Make the contract known as the topic's value schema (subject `<topic>-value`); returns its id."""
        from confluent_kafka.schema_registry import Schema

        try:
            return int(self._client.register_schema(f"{topic}-value", Schema(contract.text, "AVRO")))
        except Exception as error:  # noqa: BLE001 - the client lets its HTTP library's errors through
            raise StreamError(
                f"registering the contract of {topic} at {self._url} failed: {_hidden(str(error))}"
            ) from None

    def _find(self, key: int | bytes, ask: Callable[[], Any]) -> Contract | None:
        asked = self._clock()
        if key in self._found or asked < self._rests_until:
            return self._found.get(key)
        try:
            self._found[key] = Contract.writer(ask().schema_str)
        except Exception as error:  # noqa: BLE001 - as above
            if getattr(error, "http_status_code", None) != _NOT_FOUND:
                raise StreamError(f"asking the schema registry at {self._url} failed: {_hidden(str(error))}") from None
            self._rests_until = self._clock() + REST * (self._clock() - asked)
        return self._found.get(key)


@contextmanager
def open_registry(url: str | None) -> Iterator[Registry | None]:
    """The registry at this address, if one is named."""
    registry = Registry(url) if url else None
    try:
        yield registry
    finally:
        if registry is not None:
            registry.close()


def _hidden(text: str) -> str:
    """Mask names and passwords in URLs."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)
