"""A schema registry as a source of schemas, for shops that have one; needs the extra `registry`."""

import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import StreamError

_NOT_FOUND = 404


class Registry:
    """Contracts by the registry's ids and GUIDs.

    An unknown id is None, and asked for once only; a registry that does not answer is a `StreamError`.
    """

    def __init__(self, url: str) -> None:
        try:
            from confluent_kafka.schema_registry import SchemaRegistryClient
        except ImportError:
            raise StreamError("a schema registry needs more packages: pip install 'tidemill[registry]'") from None
        self._url = _hidden(url)
        self._client = SchemaRegistryClient({"url": url})
        self._found: dict[int | bytes, Contract | None] = {}

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
        if key not in self._found:
            try:
                self._found[key] = Contract.writer(ask().schema_str)
            except Exception as error:  # noqa: BLE001 - as above
                if getattr(error, "http_status_code", None) != _NOT_FOUND:
                    raise StreamError(
                        f"asking the schema registry at {self._url} failed: {_hidden(str(error))}"
                    ) from None
                self._found[key] = None
        return self._found[key]


def _hidden(text: str) -> str:
    """Mask names and passwords in URLs."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)
