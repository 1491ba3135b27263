"""Contracts on the compacted schemas topic.

Two kinds of records: a schema's text under its fingerprint (in hex), and a fingerprint under the name of the topic
whose contract it now is.
"""

import logging
import time
from collections.abc import Callable, Mapping

from tidemill.schemas.compatibility import require
from tidemill.schemas.contract import Contract
from tidemill.schemas.errors import SchemaError
from tidemill.schemas.resolver import KnownSchemas, SchemaSource
from tidemill.streams.ports import RecordStream, Sender

_ASK_AGAIN_SECONDS = 1.0
_LOOK_SECONDS = 0.1
REST = 10
"""After a wait in vain none begins for so many times its length: garbage takes a tenth of the time at most."""
log = logging.getLogger(__name__)


class SchemaTopic:
    """A `SchemaSource` over P.schemas; ids and GUIDs are looked up in a schema registry, if one is given.

    A message may overtake the schema that it names: an unknown fingerprint is waited for, `wait` seconds at most, and
    then it is not known. Messages that name no schema at all must not hold the others back: see `REST`.
    """

    def __init__(
        self,
        stream: RecordStream,
        registry: SchemaSource | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        wait: float = 0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._stream, self._registry, self._clock = stream, registry, clock
        self._wait, self._sleep, self._rests_until = wait, sleep, float("-inf")
        self._known = KnownSchemas([])
        self._by_topic: dict[str, Contract] = {}
        self._asked = float("-inf")

    def refresh(self) -> None:
        """Take in what was published since."""
        self._asked = self._clock()
        for record in self._stream.catch_up():
            if record.value is None or record.key is None:
                continue
            try:
                self._take(record.key.decode(), record.value.decode())
            except (SchemaError, ValueError) as error:
                log.error("schemas[%d]@%d is not a contract: %s", record.partition, record.offset, error)

    def _take(self, key: str, value: str) -> None:
        if value.startswith("{"):
            # Others may have published it: to read what they write, it need not fit into columns.
            self._known.add(Contract.writer(value))
            return
        contract = self._known.by_fingerprint(bytes.fromhex(value))
        if contract is not None:
            self._by_topic[key] = contract

    def latest(self, topic: str) -> Contract | None:
        """The contract that was last published for a topic."""
        return self._by_topic.get(topic)

    def topics(self) -> dict[str, Contract]:
        """Every topic's contract."""
        return dict(self._by_topic)

    def add(self, contract: Contract) -> None:
        """Know a contract without asking the topic."""
        self._known.add(contract)

    def by_fingerprint(self, fingerprint: bytes) -> Contract | None:
        """Find a schema; an unknown one is waited for, or, while no wait is due, asked for once a second at most."""
        found = self._known.by_fingerprint(fingerprint)
        if found is not None:
            return found
        if self._wait and self._clock() >= self._rests_until:
            return self._await(fingerprint)
        if self._clock() - self._asked >= _ASK_AGAIN_SECONDS:
            self.refresh()
        return self._known.by_fingerprint(fingerprint)

    def _await(self, fingerprint: bytes) -> Contract | None:
        deadline = self._clock() + self._wait
        while True:
            self.refresh()
            found = self._known.by_fingerprint(fingerprint)
            if found is not None:
                return found
            left = deadline - self._clock()
            if left <= 0:
                self._rests_until = self._clock() + REST * self._wait
                log.warning("no schema came for fingerprint %s within %g s", fingerprint.hex(), self._wait)
                return None
            self._sleep(min(left, _LOOK_SECONDS))

    def by_id(self, schema_id: int) -> Contract | None:
        """Find a schema by its number in the registry."""
        return None if self._registry is None else self._registry.by_id(schema_id)

    def by_guid(self, guid: bytes) -> Contract | None:
        """Find a schema by its GUID in the registry."""
        return None if self._registry is None else self._registry.by_guid(guid)


def publish_contracts(name: str, contracts: Mapping[str, Contract], known: SchemaTopic, sender: Sender) -> list[str]:
    """Publish the contracts of a pipeline's topics, if they are new and can read what the last ones wrote.

    Returns the topics whose contract is new.

    Raises:
        IncompatibleSchema: naming the topic, the field and the rule; nothing is published then.

    """
    known.refresh()
    changed = {}
    for suffix, contract in contracts.items():
        topic = f"{name}.{suffix}"
        former = known.latest(topic)
        if former is not None and former.text == contract.text:
            continue
        if former is not None:
            require(former, contract, "backward", topic)
        changed[topic] = contract
    for topic, contract in changed.items():
        sender.send(f"{name}.schemas", contract.fingerprint_hex.encode(), contract.text.encode(), partition=0)
        sender.send(f"{name}.schemas", topic.encode(), contract.fingerprint_hex.encode(), partition=0)
    sender.flush()
    known.refresh()
    return list(changed)
